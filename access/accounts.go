package access

import (
	"context"
	"errors"
	"time"

	"github.com/coppice-vm/coppice"
)

// HostAccount owns what is made with the host's own key. Its id is always the
// same, so that VMs do not lose their owner with that key.
const HostAccount coppice.AccountID = "00000000-0000-4000-8000-000000000001"

// HostKey makes a key that may do everything on this host, for the account of
// the host, which it makes if need be.
func (a *Authority) HostKey(ctx context.Context) (secret string, err error) {
	err = a.store.InsertAccount(ctx, coppice.Account{ID: HostAccount, Name: "default", CreatedAt: time.Now()})
	if err != nil && !errors.Is(err, coppice.ErrExists) {
		return "", err
	}
	secret, _, err = a.insertKey(ctx, HostAccount, "host", true)
	return secret, err
}

// Knows reports whether secret is that of a key.
func (a *Authority) Knows(ctx context.Context, secret string) (bool, error) {
	_, err := a.store.KeyByHash(ctx, hash(secret))
	if errors.Is(err, coppice.ErrNoKey) {
		return false, nil
	}
	return err == nil, err
}

// CreateAccount makes an account and its first key, whose secret it returns for
// the only time.
func (a *Authority) CreateAccount(ctx context.Context, name string) (coppice.Account, string, error) {
	if err := checkName(name); err != nil {
		return coppice.Account{}, "", err
	}
	account := coppice.Account{ID: coppice.NewAccountID(), Name: name, CreatedAt: time.Now()}
	if err := a.store.InsertAccount(ctx, account); err != nil {
		return coppice.Account{}, "", err
	}
	secret, _, err := a.insertKey(ctx, account.ID, "first", false)
	return account, secret, err
}

// Accounts lists accounts, oldest first.
func (a *Authority) Accounts(ctx context.Context) ([]coppice.Account, error) {
	return a.store.Accounts(ctx)
}

// DeleteAccount deletes an account that owns nothing any more, with its keys
// and identities.
func (a *Authority) DeleteAccount(ctx context.Context, who coppice.Principal, id coppice.AccountID) error {
	if id == who.Account {
		return coppice.Errorf(coppice.CodeConflict, "this is the account that you act for; it cannot delete itself")
	}
	switch err := a.store.DeleteAccount(ctx, id, time.Now()); {
	case errors.Is(err, coppice.ErrNoAccount):
		return noAccount(id)
	case errors.Is(err, coppice.ErrInUse):
		return coppice.Errorf(coppice.CodeConflict, "account %s has VMs or snapshots: delete them first", id).Because(err)
	case err != nil:
		return err
	}
	a.cut(func(p coppice.Principal) bool { return p.Account == id })
	return nil
}

func noAccount(id coppice.AccountID) error {
	return coppice.Errorf(coppice.CodeNotFound, "there is no account %s", id)
}

func checkName(name string) error {
	if name == "" {
		return coppice.Errorf(coppice.CodeInvalidRequest, "name is missing: it says what this is for")
	}
	return coppice.CheckName(name, coppice.CodeInvalidRequest)
}
