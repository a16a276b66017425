package http

import (
	"context"
	"errors"
	"net/http"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// defaultPort is the port that a name leads to, as the contract documents it.
const defaultPort = 443

// Domains are the host names that accounts have lead to VMs.
type Domains interface {
	// Check returns an error if an account cannot map a name.
	Check(ctx context.Context, account coppice.AccountID, name string) error
	// Map has a name lead to a port of a VM. It does not ask whose that is.
	Map(ctx context.Context, account coppice.AccountID, name string, vm coppice.VMID, port uint16) (coppice.Mapping, error)
	Unmap(ctx context.Context, account coppice.AccountID, name string) error
	// List returns an account's mappings, by name.
	List(ctx context.Context, account coppice.AccountID) ([]coppice.Mapping, error)
}

// domainRoutes are about host names. Names are verified by nobody: whoever has
// a name lead to this host in the DNS has said so.
func (s *Server) domainRoutes() []route {
	const path = "/domains/v1/mappings"
	return []route{
		{"GET", path, owner, "listMappings", "List what host names lead to VMs, by name", typed(s.listMappings)},
		{"POST", path + "/{domain}", owner, "mapDomain", "Have a host name lead to a port of a VM", typed(s.mapDomain)},
		{"DELETE", path + "/{domain}", owner, "unmapDomain", "Have a host name lead nowhere", typed(s.unmapDomain)},
	}
}

type mapInput struct {
	Domain string `path:"domain"`
	Body   api.MapDomain
}

func (s *Server) mapDomain(ctx context.Context, who caller, in *mapInput) (api.Mapping, error) {
	if in.Body.DeploymentID != nil {
		return api.Mapping{}, at(http.StatusNotImplemented, coppice.Errorf(coppice.CodeUnavailable, "this host has no deployments: map a name to a VM"))
	}
	if in.Body.VMID == nil {
		return api.Mapping{}, coppice.Errorf(coppice.CodeInvalidRequest, "vmId says which VM the name is to lead to; it is required")
	}
	id, err := s.presentVM(ctx, who, *in.Body.VMID)
	if err != nil {
		return api.Mapping{}, err
	}
	m, err := s.config.Domains.Map(ctx, who.Account, in.Domain, id, portOf(in.Body.VMPort))
	return shapeMapping(&m), err
}

func portOf(port *int) uint16 {
	if port == nil {
		return defaultPort
	}
	return uint16(*port) // has been checked
}

type unmapInput struct {
	Domain string `path:"domain"`
}

func (s *Server) unmapDomain(ctx context.Context, who caller, in *unmapInput) (api.Empty, error) {
	return api.Empty{}, s.config.Domains.Unmap(ctx, who.Account, in.Domain)
}

type mappingsInput struct {
	Domain    string `query:"domain" doc:"This name only"`
	Ownership string `query:"domainOwnership" doc:"Names of this owner only"`
	Limit     int    `query:"limit" minimum:"1" doc:"How many at most; all if absent"`
	Offset    int    `query:"offset" minimum:"0" doc:"How many to leave out at the start"`
}

func (s *Server) listMappings(ctx context.Context, who caller, in *mappingsInput) ([]api.Mapping, error) {
	all, err := s.config.Domains.List(ctx, who.Account)
	var wanted []coppice.Mapping
	for _, m := range all {
		if (in.Domain == "" || in.Domain == m.Name) && (in.Ownership == "" || in.Ownership == string(m.Account)) {
			wanted = append(wanted, m)
		}
	}
	list := []api.Mapping{}
	for _, m := range page(wanted, in.Limit, in.Offset) {
		list = append(list, shapeMapping(&m))
	}
	return list, err
}

func shapeMapping(m *coppice.Mapping) api.Mapping {
	return api.Mapping{
		ID: m.Name, Domain: m.Name, VMID: string(m.VM), VMPort: int(m.Port),
		OwnershipID: string(m.Account), CreatedAt: m.CreatedAt.UTC(),
	}
}

// checkDomains returns an error if names cannot lead to a VM that is to be made.
func (s *Server) checkDomains(ctx context.Context, who caller, domains []api.Domain) error {
	for _, d := range domains {
		if err := s.config.Domains.Check(ctx, who.Account, d.Domain); err != nil {
			return err
		}
	}
	return nil
}

// mapDomains has names lead to a VM that was made for them. If one is taken
// meanwhile, nobody wants the VM.
func (s *Server) mapDomains(ctx context.Context, who caller, vm coppice.VMID, domains []api.Domain) ([]string, error) {
	names := []string{}
	for _, d := range domains {
		m, err := s.config.Domains.Map(ctx, who.Account, d.Domain, vm, portOf(d.VMPort))
		if err != nil {
			_, deleteErr := s.config.VMs.Delete(context.WithoutCancel(ctx), who.Account, vm)
			return names, errors.Join(err, deleteErr)
		}
		names = append(names, m.Name)
	}
	return names, nil
}
