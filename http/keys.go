package http

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// Keys is the part of [Access] that has to do with API keys. An empty account
// is who's own; another is there for an admin only.
type Keys interface {
	// CreateKey returns the key's secret, which nobody knows later.
	CreateKey(ctx context.Context, who coppice.Principal, account coppice.AccountID, name string, admin bool) (string, coppice.APIKey, error)
	Keys(ctx context.Context, who coppice.Principal, account coppice.AccountID) ([]coppice.APIKey, error)
	RevokeKey(ctx context.Context, who coppice.Principal, account coppice.AccountID, id coppice.KeyID) error
}

// Accounts is the part of [Access] that has to do with accounts. It does not
// ask whether who calls is an admin.
type Accounts interface {
	// CreateAccount returns the secret of the account's first key, which nobody knows later.
	CreateAccount(ctx context.Context, name string) (coppice.Account, string, error)
	Accounts(ctx context.Context) ([]coppice.Account, error)
	// DeleteAccount deletes an account that has neither VMs nor snapshots.
	DeleteAccount(ctx context.Context, who coppice.Principal, id coppice.AccountID) error
}

type createKeyInput struct {
	Body api.CreateKey
}

func (s *Server) createKey(ctx context.Context, who caller, in *createKeyInput) (api.CreatedKey, error) {
	var account coppice.AccountID
	if in.Body.AccountID != nil {
		account = coppice.AccountID(*in.Body.AccountID)
	}
	admin := in.Body.Admin != nil && *in.Body.Admin
	secret, key, err := s.config.Access.CreateKey(ctx, who, account, in.Body.Name, admin)
	return api.CreatedKey{Key: shapeKey(&key), Secret: secret}, err
}

type keysInput struct {
	AccountID string `query:"accountId" doc:"Whose; absent is the caller's own. Another is for an admin to name"`
}

func (s *Server) listKeys(ctx context.Context, who caller, in *keysInput) (api.KeyList, error) {
	keys, err := s.config.Access.Keys(ctx, who, coppice.AccountID(in.AccountID))
	list := api.KeyList{Keys: make([]api.Key, len(keys))}
	for i := range keys {
		list.Keys[i] = shapeKey(&keys[i])
	}
	return list, err
}

type keyInput struct {
	KeyID     string `path:"key_id"`
	AccountID string `query:"accountId" doc:"Whose; absent is the caller's own. Another is for an admin to name"`
}

func (s *Server) revokeKey(ctx context.Context, who caller, in *keyInput) (api.Empty, error) {
	return api.Empty{}, s.config.Access.RevokeKey(ctx, who, coppice.AccountID(in.AccountID), coppice.KeyID(in.KeyID))
}

func shapeKey(k *coppice.APIKey) api.Key {
	out := api.Key{ID: string(k.ID), Name: k.Name, AccountID: string(k.Account), Admin: k.Admin, CreatedAt: k.CreatedAt.UTC()}
	if !k.UsedAt.IsZero() {
		out.LastUsedAt = new(k.UsedAt.UTC())
	}
	return out
}

type createAccountInput struct {
	Body api.CreateAccount
}

func (s *Server) createAccount(ctx context.Context, _ caller, in *createAccountInput) (api.CreatedAccount, error) {
	account, secret, err := s.config.Access.CreateAccount(ctx, in.Body.Name)
	return api.CreatedAccount{Account: shapeAccount(&account), Secret: secret}, err
}

func (s *Server) listAccounts(ctx context.Context, _ caller, _ *struct{}) (api.AccountList, error) {
	accounts, err := s.config.Access.Accounts(ctx)
	list := api.AccountList{Accounts: make([]api.Account, len(accounts))}
	for i := range accounts {
		list.Accounts[i] = shapeAccount(&accounts[i])
	}
	return list, err
}

type accountInput struct {
	AccountID string `path:"account_id"`
}

func (s *Server) deleteAccount(ctx context.Context, who caller, in *accountInput) (api.DeletedAccount, error) {
	return api.DeletedAccount{ID: in.AccountID}, s.config.Access.DeleteAccount(ctx, who, coppice.AccountID(in.AccountID))
}

func shapeAccount(a *coppice.Account) api.Account {
	return api.Account{ID: string(a.ID), Name: a.Name, CreatedAt: a.CreatedAt.UTC()}
}
