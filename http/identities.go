package http

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// Identities is the part of [Access] that has to do with identities. One of
// another account is one that does not exist.
type Identities interface {
	CreateIdentity(ctx context.Context, who coppice.Principal) (coppice.Identity, error)
	Identities(ctx context.Context, who coppice.Principal) ([]coppice.Identity, error)
	DeleteIdentity(ctx context.Context, who coppice.Principal, id coppice.IdentityID) error

	Tokens
	Grants
}

// Tokens is the part of [Identities] that has to do with access tokens.
type Tokens interface {
	// CreateToken returns the token's secret, which nobody knows later.
	CreateToken(ctx context.Context, who coppice.Principal, identity coppice.IdentityID) (string, coppice.Token, error)
	Tokens(ctx context.Context, who coppice.Principal, identity coppice.IdentityID) ([]coppice.Token, error)
	RevokeToken(ctx context.Context, who coppice.Principal, identity coppice.IdentityID, id coppice.TokenID) error
}

type identityInput struct {
	Identity string `path:"identity"`
}

type identitiesInput struct {
	Limit  int `query:"limit" minimum:"1" doc:"How many at most; all if absent"`
	Offset int `query:"offset" minimum:"0" doc:"How many to leave out at the start"`
}

// page returns a part of a list. No limit is 0.
func page[T any](all []T, limit, offset int) []T {
	rest := all[min(offset, len(all)):]
	if limit > 0 {
		rest = rest[:min(limit, len(rest))]
	}
	return rest
}

func (s *Server) createIdentity(ctx context.Context, who caller, _ *struct{}) (api.Identity, error) {
	identity, err := s.config.Access.CreateIdentity(ctx, who)
	return api.Identity{ID: string(identity.ID)}, err
}

func (s *Server) listIdentities(ctx context.Context, who caller, in *identitiesInput) (api.IdentityList, error) {
	identities, err := s.config.Access.Identities(ctx, who)
	list := api.IdentityList{Identities: []api.Identity{}, Offset: in.Offset, Total: len(identities)}
	for _, i := range page(identities, in.Limit, in.Offset) {
		list.Identities = append(list.Identities, api.Identity{ID: string(i.ID)})
	}
	return list, err
}

func (s *Server) deleteIdentity(ctx context.Context, who caller, in *identityInput) (api.Empty, error) {
	return api.Empty{}, s.config.Access.DeleteIdentity(ctx, who, coppice.IdentityID(in.Identity))
}

func (s *Server) createToken(ctx context.Context, who caller, in *identityInput) (api.CreatedToken, error) {
	secret, token, err := s.config.Access.CreateToken(ctx, who, coppice.IdentityID(in.Identity))
	return api.CreatedToken{ID: string(token.ID), Secret: secret}, err
}

func (s *Server) listTokens(ctx context.Context, who caller, in *identityInput) (api.TokenList, error) {
	tokens, err := s.config.Access.Tokens(ctx, who, coppice.IdentityID(in.Identity))
	list := api.TokenList{Tokens: make([]api.Token, len(tokens))}
	for i := range tokens {
		list.Tokens[i].ID = string(tokens[i].ID)
	}
	return list, err
}

type tokenInput struct {
	Identity string `path:"identity"`
	Token    string `path:"token" doc:"The token's id, not its secret"`
}

func (s *Server) revokeToken(ctx context.Context, who caller, in *tokenInput) (api.Empty, error) {
	return api.Empty{}, s.config.Access.RevokeToken(ctx, who, coppice.IdentityID(in.Identity), coppice.TokenID(in.Token))
}
