package http

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

func (s *Server) getNetwork(ctx context.Context, who caller, in *vmInput) (api.Network, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.Network{}, err
	}
	link, err := s.config.VMs.Link(ctx, who.Account, id)
	return shapeNetwork(link), err
}

type setNetworkInput struct {
	VMID    string `path:"vm_id" doc:"20 characters of a-z and 0-9"`
	Body    api.SetNetwork
	RawBody []byte
}

func (s *Server) setNetwork(ctx context.Context, who caller, in *setNetworkInput) (api.Network, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.Network{}, err
	}
	if _, err := s.config.VMs.VM(ctx, who.Account, id); err != nil {
		return api.Network{}, err
	}
	if len(in.RawBody) == 0 { // which is not looked at, and would be null
		return api.Network{}, coppice.Errorf(coppice.CodeInvalidRequest, "egress is missing: want open, closed, a list, or null for the host's default")
	}
	egress, err := parseEgress(in.Body.Egress, coppice.CodeInvalidRequest)
	if err != nil {
		return api.Network{}, err
	}
	link, err := s.config.VMs.SetEgress(ctx, who.Account, id, egress)
	return shapeNetwork(link), err
}

type setIngressInput struct {
	VMID string `path:"vm_id" doc:"20 characters of a-z and 0-9"`
	Body api.SetIngress
}

func (s *Server) setIngress(ctx context.Context, who caller, in *setIngressInput) (api.VM, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.VM{}, err
	}
	if _, err := s.config.VMs.VM(ctx, who.Account, id); err != nil {
		return api.VM{}, err
	}
	if in.Body.Private == nil {
		return api.VM{}, coppice.Errorf(coppice.CodeInvalidRequest, "private is missing: want true or false")
	}
	vm, err := s.config.VMs.SetPrivate(ctx, who.Account, id, *in.Body.Private)
	if err != nil {
		return api.VM{}, err
	}
	return shape(&vm), nil
}

// parseEgress returns a policy; nil is the host's default.
func parseEgress(text *string, code coppice.Code) (coppice.Egress, error) {
	if text == nil {
		return "", nil
	}
	egress, err := coppice.ParseEgress(*text)
	if err != nil {
		return "", coppice.Errorf(code, "egress: %s", err)
	}
	return egress, nil
}

func shapeNetwork(link coppice.Link) api.Network {
	return api.Network{
		Egress: string(link.Egress), EgressDefault: link.Default,
		SentBytes: link.Traffic.Sent, ReceivedBytes: link.Traffic.Received,
	}
}
