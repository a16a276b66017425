package access

import (
	"context"
	"errors"
	"time"

	"github.com/coppice-vm/coppice"
)

// CreateIdentity makes an identity of who's account. It may do nothing yet.
func (a *Authority) CreateIdentity(ctx context.Context, who coppice.Principal) (coppice.Identity, error) {
	identity := coppice.Identity{ID: coppice.NewIdentityID(), Account: who.Account, CreatedAt: time.Now()}
	return identity, a.store.InsertIdentity(ctx, identity)
}

// Identities lists the identities of who's account, oldest first.
func (a *Authority) Identities(ctx context.Context, who coppice.Principal) ([]coppice.Identity, error) {
	return a.store.Identities(ctx, who.Account)
}

// DeleteIdentity deletes an identity with its tokens and grants, and ends what
// they let in.
func (a *Authority) DeleteIdentity(ctx context.Context, who coppice.Principal, id coppice.IdentityID) error {
	if err := a.own(ctx, who, id); err != nil {
		return err
	}
	if err := a.store.DeleteIdentity(ctx, id); err != nil {
		return missing(err, id)
	}
	a.cut(func(p coppice.Principal) bool { return p.Identity == id })
	return nil
}

// own returns an error if there is no such identity in who's account.
func (a *Authority) own(ctx context.Context, who coppice.Principal, id coppice.IdentityID) error {
	identity, err := a.store.Identity(ctx, id)
	if err == nil && identity.Account != who.Account {
		err = coppice.ErrNoIdentity
	}
	return missing(err, id)
}

// missing returns err, in a user's words if it says that an identity is not there.
func missing(err error, id coppice.IdentityID) error {
	if errors.Is(err, coppice.ErrNoIdentity) {
		return coppice.Errorf(coppice.CodeIdentityNotFound, "there is no identity %s", id)
	}
	return err
}

// CreateToken makes a token of an identity, whose secret it returns for the only time.
func (a *Authority) CreateToken(ctx context.Context, who coppice.Principal, identity coppice.IdentityID) (string, coppice.Token, error) {
	if err := a.own(ctx, who, identity); err != nil {
		return "", coppice.Token{}, err
	}
	secret, hash := newSecret(tokenPrefix)
	token := coppice.Token{ID: coppice.NewTokenID(), Hash: hash, Identity: identity, CreatedAt: time.Now()}
	return secret, token, missing(a.store.InsertToken(ctx, token), identity)
}

// Tokens lists the tokens of an identity, oldest first.
func (a *Authority) Tokens(ctx context.Context, who coppice.Principal, identity coppice.IdentityID) ([]coppice.Token, error) {
	if err := a.own(ctx, who, identity); err != nil {
		return nil, err
	}
	return a.store.Tokens(ctx, identity)
}

// RevokeToken ends what a token let in and lets nothing in by it any more, when
// it returns.
func (a *Authority) RevokeToken(ctx context.Context, who coppice.Principal, identity coppice.IdentityID, id coppice.TokenID) error {
	if err := a.own(ctx, who, identity); err != nil {
		return err
	}
	if err := a.store.DeleteToken(ctx, identity, id); errors.Is(err, coppice.ErrNoToken) {
		return coppice.Errorf(coppice.CodeNotFound, "identity %s has no token %s; a token is revoked by its id, not by its secret", identity, id)
	} else if err != nil {
		return err
	}
	a.cut(func(p coppice.Principal) bool { return p.Token == id })
	return nil
}
