// Package access decides who may use the host: it knows accounts and their
// keys, identities, their tokens and what is granted to them. It lets requests
// in by their secrets, and ends them when what let them in is revoked.
//
// Errors that it returns for a user's request are [*coppice.Error].
package access

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
)

// useInterval is how exactly is known when a key was used last.
const useInterval = time.Hour

// A Store is what an [Authority] remembers by.
type Store interface {
	coppice.Accounts
	coppice.Keys
	coppice.SSHKeys
	coppice.Identities
	coppice.Tokens
	coppice.Grants
}

// An Authority is the one for a host: what it revokes ends what it let in.
type Authority struct {
	store Store
	log   *slog.Logger

	// entering is held, shared, by whoever lets a request in, from looking it
	// up to noting the visit. So whoever holds it for themselves knows that
	// every visit that began before is noted, and that later ones find what the
	// store says now.
	entering sync.RWMutex
	visits   sync.Map // of *visit
}

// New returns the authority for what store remembers.
func New(store Store, log *slog.Logger) *Authority { return &Authority{store: store, log: log} }

// A visit is a request that was let in and is not over.
type visit struct {
	who coppice.Principal
	end context.CancelCauseFunc
}

// ByKey calls do with whom the API key secret acts for. [coppice.ErrNoKey] if
// that is nobody. do's context ends, because of [coppice.ErrRevoked], when the
// key is revoked.
func (a *Authority) ByKey(ctx context.Context, secret string, do func(context.Context, coppice.Principal)) error {
	return a.admit(ctx, func() (coppice.Principal, error) {
		key, err := a.store.KeyByHash(ctx, hash(secret))
		if err != nil {
			return coppice.Principal{}, err
		}
		a.noteUse(ctx, key)
		return coppice.Principal{Account: key.Account, Key: key.ID, Admin: key.Admin}, nil
	}, do)
}

// noteUse notes that a key is used. That a full disk does not allow it is no
// reason to refuse the key.
func (a *Authority) noteUse(ctx context.Context, key coppice.APIKey) {
	now := time.Now().Truncate(useInterval)
	if !key.UsedAt.Before(now) {
		return
	}
	if err := a.store.UseKey(ctx, key.ID, now); err != nil {
		a.log.Warn("the use of a key was not noted", "key", key.ID, "error", err)
	}
}

// ByToken calls do with whom the access token secret acts for.
// [coppice.ErrNoToken] if that is nobody. If vm is not empty, the identity's
// grant for it goes with the principal: [coppice.ErrNoGrant] if it has none.
// do's context ends, because of [coppice.ErrRevoked], when the token or the
// identity is revoked, or the grant is, or is changed.
func (a *Authority) ByToken(ctx context.Context, secret string, vm coppice.VMID, do func(context.Context, coppice.Principal)) error {
	return a.admit(ctx, func() (coppice.Principal, error) { return a.bearer(ctx, secret, vm) }, do)
}

func (a *Authority) bearer(ctx context.Context, secret string, vm coppice.VMID) (coppice.Principal, error) {
	token, err := a.store.TokenByHash(ctx, hash(secret))
	if err != nil {
		return coppice.Principal{}, err
	}
	identity, err := a.store.Identity(ctx, token.Identity)
	if errors.Is(err, coppice.ErrNoIdentity) {
		err = coppice.ErrNoToken // it went with its identity just now
	}
	if err != nil {
		return coppice.Principal{}, err
	}
	who := coppice.Principal{Account: identity.Account, Identity: identity.ID, Token: token.ID}
	if vm == "" {
		return who, nil
	}
	grant, err := a.store.Grant(ctx, identity.ID, vm)
	who.Grant = &grant
	return who, err
}

// admit calls do for the principal that find returns, as a visit.
func (a *Authority) admit(ctx context.Context, find func() (coppice.Principal, error), do func(context.Context, coppice.Principal)) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	v, err := a.enter(find, end)
	if err != nil {
		return err
	}
	defer a.visits.Delete(v)
	do(ctx, v.who)
	return nil
}

func (a *Authority) enter(find func() (coppice.Principal, error), end context.CancelCauseFunc) (*visit, error) {
	a.entering.RLock()
	defer a.entering.RUnlock()
	who, err := find()
	if err != nil {
		return nil, err
	}
	v := &visit{who, end}
	a.visits.Store(v, nil)
	return v, nil
}

// cut ends the visits of those whom the store does not let in any more.
func (a *Authority) cut(over func(coppice.Principal) bool) {
	a.entering.Lock()
	defer a.entering.Unlock()
	for v := range a.visits.Range {
		if v := v.(*visit); over(v.who) {
			v.end(coppice.ErrRevoked)
		}
	}
}
