package http

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// Grants is the part of [Identities] that has to do with what they may use. It
// does not ask whether a VM is the account's. No users are all users.
type Grants interface {
	Grant(ctx context.Context, who coppice.Principal, identity coppice.IdentityID, vm coppice.VMID, users []string) (coppice.Grant, error)
	Grants(ctx context.Context, who coppice.Principal, identity coppice.IdentityID) ([]coppice.Grant, error)
	GrantFor(ctx context.Context, who coppice.Principal, identity coppice.IdentityID, vm coppice.VMID) (coppice.Grant, error)
	ChangeGrant(ctx context.Context, who coppice.Principal, identity coppice.IdentityID, vm coppice.VMID, users []string) (coppice.Grant, error)
	RevokeGrant(ctx context.Context, who coppice.Principal, identity coppice.IdentityID, vm coppice.VMID) error
}

// grantInput is a request about what an identity may do in a VM.
type grantInput struct {
	Identity string `path:"identity"`
	VMID     string `path:"vm_id" doc:"20 characters of a-z and 0-9"`
}

type grantVMInput struct {
	Identity string `path:"identity"`
	VMID     string `path:"vm_id" doc:"20 characters of a-z and 0-9"`
	Body     api.GrantVM
}

func (s *Server) grantVM(ctx context.Context, who caller, in *grantVMInput) (api.VMGrant, error) {
	id, err := s.presentVM(ctx, who, in.VMID)
	if err != nil {
		return api.VMGrant{}, err
	}
	grant, err := s.config.Access.Grant(ctx, who, coppice.IdentityID(in.Identity), id, in.Body.AllowedUsers)
	return shapeGrant(&grant), err
}

func (s *Server) changeGrant(ctx context.Context, who caller, in *grantVMInput) (api.VMGrant, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.VMGrant{}, err
	}
	grant, err := s.config.Access.ChangeGrant(ctx, who, coppice.IdentityID(in.Identity), id, in.Body.AllowedUsers)
	return shapeGrant(&grant), err
}

func (s *Server) getGrant(ctx context.Context, who caller, in *grantInput) (api.VMGrant, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.VMGrant{}, err
	}
	grant, err := s.config.Access.GrantFor(ctx, who, coppice.IdentityID(in.Identity), id)
	return shapeGrant(&grant), err
}

type grantsInput struct {
	Identity string `path:"identity"`
	Limit    int    `query:"limit" minimum:"1" doc:"How many at most; all if absent"`
	Offset   int    `query:"offset" minimum:"0" doc:"How many to leave out at the start"`
}

func (s *Server) listGrants(ctx context.Context, who caller, in *grantsInput) (api.VMGrantList, error) {
	grants, err := s.config.Access.Grants(ctx, who, coppice.IdentityID(in.Identity))
	list := api.VMGrantList{Permissions: []api.VMGrant{}, Offset: in.Offset, Total: len(grants)}
	for _, g := range page(grants, in.Limit, in.Offset) {
		list.Permissions = append(list.Permissions, shapeGrant(&g))
	}
	return list, err
}

func (s *Server) revokeGrant(ctx context.Context, who caller, in *grantInput) (api.Empty, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.Empty{}, err
	}
	return api.Empty{}, s.config.Access.RevokeGrant(ctx, who, coppice.IdentityID(in.Identity), id)
}

func shapeGrant(g *coppice.Grant) api.VMGrant {
	return api.VMGrant{
		ID: string(g.ID), VMID: string(g.VM), IdentityID: string(g.Identity), AllowedUsers: g.Users,
		GrantedAt: g.GrantedAt.UTC(), GrantedBy: string(g.GrantedBy),
	}
}
