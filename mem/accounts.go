package mem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/coppice-vm/coppice"
)

// people are what a [Store] keeps of who may use the host.
type people struct {
	accounts   map[coppice.AccountID]coppice.Account
	gone       map[coppice.AccountID]bool // accounts that were deleted
	keys       map[coppice.KeyID]coppice.APIKey
	sshKeys    map[coppice.KeyID]coppice.SSHKey
	identities map[coppice.IdentityID]coppice.Identity
	tokens     map[coppice.TokenID]coppice.Token
	grants     map[coppice.GrantID]coppice.Grant
}

func newPeople() people {
	return people{
		accounts:   map[coppice.AccountID]coppice.Account{},
		gone:       map[coppice.AccountID]bool{},
		keys:       map[coppice.KeyID]coppice.APIKey{},
		sshKeys:    map[coppice.KeyID]coppice.SSHKey{},
		identities: map[coppice.IdentityID]coppice.Identity{},
		tokens:     map[coppice.TokenID]coppice.Token{},
		grants:     map[coppice.GrantID]coppice.Grant{},
	}
}

var errIncomplete = errors.New("no id or no creation time")

// locked calls do while nothing else happens to the store, and says what was
// being done if that failed.
func (s *Store) locked(ctx context.Context, what string, do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := ctx.Err()
	if err == nil {
		err = do()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// oldestFirst orders values by a time, and by their ids where that is the same.
func oldestFirst[V any](of func(V) (time.Time, string)) func(a, b V) int {
	return func(a, b V) int {
		at, id := of(a)
		bt, other := of(b)
		return cmp.Or(at.Compare(bt), cmp.Compare(id, other))
	}
}

// sorted returns the values that choose selects, in that order.
func sorted[K comparable, V any](all map[K]V, choose func(V) bool, order func(a, b V) int) []V {
	values := slices.DeleteFunc(slices.Collect(maps.Values(all)), func(v V) bool { return !choose(v) })
	slices.SortFunc(values, order)
	return values
}

// InsertAccount implements [coppice.Accounts].
func (s *Store) InsertAccount(ctx context.Context, a coppice.Account) error {
	return s.locked(ctx, fmt.Sprintf("insert account %q", a.ID), func() error {
		_, taken := s.accounts[a.ID]
		switch {
		case a.ID == "" || a.CreatedAt.IsZero():
			return errIncomplete
		case taken || s.gone[a.ID]:
			return coppice.ErrExists
		}
		s.accounts[a.ID] = a
		return nil
	})
}

// Account implements [coppice.Accounts].
func (s *Store) Account(ctx context.Context, id coppice.AccountID) (a coppice.Account, err error) {
	err = s.locked(ctx, fmt.Sprintf("read account %q", id), func() (err error) {
		a, err = have(s.accounts, id, coppice.ErrNoAccount)
		return err
	})
	return a, err
}

// have returns a value that is in all, or the error missing.
func have[K comparable, V any](all map[K]V, key K, missing error) (V, error) {
	v, ok := all[key]
	if !ok {
		return v, missing
	}
	return v, nil
}

// Accounts implements [coppice.Accounts].
func (s *Store) Accounts(ctx context.Context) (all []coppice.Account, err error) {
	err = s.locked(ctx, "list accounts", func() error {
		all = sorted(s.accounts, func(coppice.Account) bool { return true }, oldestFirst(func(x coppice.Account) (time.Time, string) { return x.CreatedAt, string(x.ID) }))
		return nil
	})
	return all, err
}

// DeleteAccount implements [coppice.Accounts].
func (s *Store) DeleteAccount(ctx context.Context, id coppice.AccountID, _ time.Time) error {
	return s.locked(ctx, fmt.Sprintf("delete account %q", id), func() error {
		if _, err := have(s.accounts, id, coppice.ErrNoAccount); err != nil {
			return err
		}
		for _, vm := range s.vms {
			if vm.Account == id && !vm.Deleted() {
				return coppice.ErrInUse
			}
		}
		for _, c := range s.captures {
			if c.Account == id && c.Keep {
				return coppice.ErrInUse
			}
		}
		delete(s.accounts, id)
		delete(s.limits, id)
		maps.DeleteFunc(s.mappings, func(_ string, m coppice.Mapping) bool { return m.Account == id })
		s.gone[id] = true
		maps.DeleteFunc(s.keys, func(_ coppice.KeyID, k coppice.APIKey) bool { return k.Account == id })
		maps.DeleteFunc(s.sshKeys, func(_ coppice.KeyID, k coppice.SSHKey) bool { return k.Account == id })
		for _, i := range s.identities {
			if i.Account == id {
				s.forget(i.ID)
			}
		}
		return nil
	})
}

// checkOwner returns an error if nothing can be inserted for an account any more.
func (s *Store) checkOwner(id coppice.AccountID) error {
	if s.gone[id] {
		return coppice.ErrNoAccount
	}
	return nil
}

// InsertKey implements [coppice.Keys].
func (s *Store) InsertKey(ctx context.Context, k coppice.APIKey) error {
	return s.locked(ctx, fmt.Sprintf("insert key %q", k.ID), func() error {
		if k.ID == "" || k.CreatedAt.IsZero() {
			return errIncomplete
		}
		for _, other := range s.keys {
			if other.ID == k.ID || other.Hash == k.Hash {
				return coppice.ErrExists
			}
		}
		if _, err := have(s.accounts, k.Account, coppice.ErrNoAccount); err != nil {
			return err
		}
		s.keys[k.ID] = k
		return nil
	})
}

// KeyByHash implements [coppice.Keys].
func (s *Store) KeyByHash(ctx context.Context, hash coppice.SecretHash) (found coppice.APIKey, err error) {
	err = s.locked(ctx, "read key", func() error {
		for _, k := range s.keys {
			if k.Hash == hash {
				found = k
				return nil
			}
		}
		return coppice.ErrNoKey
	})
	return found, err
}

// Keys implements [coppice.Keys].
func (s *Store) Keys(ctx context.Context, account coppice.AccountID) (all []coppice.APIKey, err error) {
	err = s.locked(ctx, "list keys", func() error {
		all = sorted(s.keys, func(k coppice.APIKey) bool { return k.Account == account }, oldestFirst(func(x coppice.APIKey) (time.Time, string) { return x.CreatedAt, string(x.ID) }))
		return nil
	})
	return all, err
}

// UseKey implements [coppice.Keys].
func (s *Store) UseKey(ctx context.Context, id coppice.KeyID, at time.Time) error {
	return s.locked(ctx, fmt.Sprintf("note the use of key %q", id), func() error {
		if k, ok := s.keys[id]; ok {
			k.UsedAt = at
			s.keys[id] = k
		}
		return nil
	})
}

// DeleteKey implements [coppice.Keys].
func (s *Store) DeleteKey(ctx context.Context, account coppice.AccountID, id coppice.KeyID) error {
	return s.locked(ctx, "delete key", func() error {
		if k, ok := s.keys[id]; !ok || k.Account != account {
			return coppice.ErrNoKey
		}
		delete(s.keys, id)
		return nil
	})
}
