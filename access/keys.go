package access

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/coppice-vm/coppice"
)

// CreateKey makes a key, whose secret it returns for the only time. account is
// whom the key is for; empty is who's own. Another's is for an admin to make. So
// is a key that makes admins of its bearers, which only the admin's own account has.
func (a *Authority) CreateKey(ctx context.Context, who coppice.Principal, account coppice.AccountID, name string, admin bool) (string, coppice.APIKey, error) {
	account, err := a.accountFor(ctx, who, account)
	if err == nil {
		err = checkName(name)
	}
	if err != nil {
		return "", coppice.APIKey{}, err
	}
	if admin && (!who.Admin || account != who.Account) {
		return "", coppice.APIKey{}, coppice.Errorf(coppice.CodeForbidden, "a key that may manage accounts is made by such a key, for its own account")
	}
	return a.insertKey(ctx, account, name, admin)
}

func (a *Authority) insertKey(ctx context.Context, account coppice.AccountID, name string, admin bool) (string, coppice.APIKey, error) {
	secret, hash := newSecret(keyPrefix)
	key := coppice.APIKey{ID: coppice.NewKeyID(), Hash: hash, Account: account, Name: name, Admin: admin, CreatedAt: time.Now()}
	return secret, key, a.store.InsertKey(ctx, key)
}

// accountFor returns the account whose keys who wants to manage.
func (a *Authority) accountFor(ctx context.Context, who coppice.Principal, account coppice.AccountID) (coppice.AccountID, error) {
	if account == "" || account == who.Account {
		return who.Account, nil
	}
	if !who.Admin {
		return "", noAccount(account)
	}
	_, err := a.store.Account(ctx, account)
	if errors.Is(err, coppice.ErrNoAccount) {
		err = noAccount(account)
	}
	return account, err
}

// Keys lists the keys of an account as [Authority.CreateKey] has it, oldest first.
func (a *Authority) Keys(ctx context.Context, who coppice.Principal, account coppice.AccountID) ([]coppice.APIKey, error) {
	account, err := a.accountFor(ctx, who, account)
	if err != nil {
		return nil, err
	}
	return a.store.Keys(ctx, account)
}

// RevokeKey ends what a key let in and lets nothing in by it any more, when it
// returns. The account is as [Authority.CreateKey] has it.
func (a *Authority) RevokeKey(ctx context.Context, who coppice.Principal, account coppice.AccountID, id coppice.KeyID) error {
	keys, err := a.Keys(ctx, who, account)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(keys, func(k coppice.APIKey) bool { return k.ID == id })
	switch {
	case i < 0:
		return noKey(id)
	case id == who.Key:
		return coppice.Errorf(coppice.CodeConflict, "this is the key that you use; revoke it with another one")
	case keys[i].Admin && !who.Admin:
		return coppice.Errorf(coppice.CodeForbidden, "a key that may manage accounts is revoked by such a key only")
	}
	if err := a.store.DeleteKey(ctx, keys[i].Account, id); errors.Is(err, coppice.ErrNoKey) {
		return noKey(id)
	} else if err != nil {
		return err
	}
	a.cut(func(p coppice.Principal) bool { return p.Key == id })
	return nil
}

func noKey(id coppice.KeyID) error {
	return coppice.Errorf(coppice.CodeNotFound, "there is no key %s", id)
}
