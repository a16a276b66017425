package mem

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/coppice-vm/coppice"
)

// InsertIdentity implements [coppice.Identities].
func (s *Store) InsertIdentity(ctx context.Context, i coppice.Identity) error {
	return s.locked(ctx, fmt.Sprintf("insert identity %q", i.ID), func() error {
		if i.ID == "" || i.CreatedAt.IsZero() {
			return errIncomplete
		}
		if _, taken := s.identities[i.ID]; taken {
			return coppice.ErrExists
		}
		if _, err := have(s.accounts, i.Account, coppice.ErrNoAccount); err != nil {
			return err
		}
		s.identities[i.ID] = i
		return nil
	})
}

// Identity implements [coppice.Identities].
func (s *Store) Identity(ctx context.Context, id coppice.IdentityID) (i coppice.Identity, err error) {
	err = s.locked(ctx, fmt.Sprintf("read identity %q", id), func() (err error) {
		i, err = have(s.identities, id, coppice.ErrNoIdentity)
		return err
	})
	return i, err
}

// Identities implements [coppice.Identities].
func (s *Store) Identities(ctx context.Context, account coppice.AccountID) (all []coppice.Identity, err error) {
	err = s.locked(ctx, "list identities", func() error {
		all = sorted(s.identities, func(i coppice.Identity) bool { return i.Account == account }, oldestFirst(func(x coppice.Identity) (time.Time, string) { return x.CreatedAt, string(x.ID) }))
		return nil
	})
	return all, err
}

// DeleteIdentity implements [coppice.Identities].
func (s *Store) DeleteIdentity(ctx context.Context, id coppice.IdentityID) error {
	return s.locked(ctx, "delete identity", func() error {
		if _, err := have(s.identities, id, coppice.ErrNoIdentity); err != nil {
			return err
		}
		s.forget(id)
		return nil
	})
}

// forget removes an identity with its tokens and grants.
func (s *Store) forget(id coppice.IdentityID) {
	delete(s.identities, id)
	maps.DeleteFunc(s.tokens, func(_ coppice.TokenID, t coppice.Token) bool { return t.Identity == id })
	maps.DeleteFunc(s.grants, func(_ coppice.GrantID, g coppice.Grant) bool { return g.Identity == id })
}

// InsertToken implements [coppice.Tokens].
func (s *Store) InsertToken(ctx context.Context, t coppice.Token) error {
	return s.locked(ctx, fmt.Sprintf("insert token %q", t.ID), func() error {
		if t.ID == "" || t.CreatedAt.IsZero() {
			return errIncomplete
		}
		for _, other := range s.tokens {
			if other.ID == t.ID || other.Hash == t.Hash {
				return coppice.ErrExists
			}
		}
		if _, err := have(s.identities, t.Identity, coppice.ErrNoIdentity); err != nil {
			return err
		}
		s.tokens[t.ID] = t
		return nil
	})
}

// TokenByHash implements [coppice.Tokens].
func (s *Store) TokenByHash(ctx context.Context, hash coppice.SecretHash) (found coppice.Token, err error) {
	err = s.locked(ctx, "read token", func() error {
		for _, t := range s.tokens {
			if t.Hash == hash {
				found = t
				return nil
			}
		}
		return coppice.ErrNoToken
	})
	return found, err
}

// Tokens implements [coppice.Tokens].
func (s *Store) Tokens(ctx context.Context, identity coppice.IdentityID) (all []coppice.Token, err error) {
	err = s.locked(ctx, "list tokens", func() error {
		all = sorted(s.tokens, func(t coppice.Token) bool { return t.Identity == identity }, oldestFirst(func(x coppice.Token) (time.Time, string) { return x.CreatedAt, string(x.ID) }))
		return nil
	})
	return all, err
}

// DeleteToken implements [coppice.Tokens].
func (s *Store) DeleteToken(ctx context.Context, identity coppice.IdentityID, id coppice.TokenID) error {
	return s.locked(ctx, "delete token", func() error {
		if t, ok := s.tokens[id]; !ok || t.Identity != identity {
			return coppice.ErrNoToken
		}
		delete(s.tokens, id)
		return nil
	})
}

// InsertGrant implements [coppice.Grants].
func (s *Store) InsertGrant(ctx context.Context, g coppice.Grant) error {
	return s.locked(ctx, fmt.Sprintf("insert grant %q", g.ID), func() error {
		if g.ID == "" || g.VM == "" || g.GrantedAt.IsZero() {
			return errIncomplete
		}
		for _, other := range s.grants {
			if other.ID == g.ID || other.Identity == g.Identity && other.VM == g.VM {
				return coppice.ErrExists
			}
		}
		if _, err := have(s.identities, g.Identity, coppice.ErrNoIdentity); err != nil {
			return err
		}
		g.Users = slices.Clone(g.Users)
		s.grants[g.ID] = g
		return nil
	})
}

// Grant implements [coppice.Grants].
func (s *Store) Grant(ctx context.Context, identity coppice.IdentityID, vm coppice.VMID) (g coppice.Grant, err error) {
	err = s.locked(ctx, "read grant", func() (err error) {
		g, err = s.grantOf(identity, vm)
		return err
	})
	return g, err
}

func (s *Store) grantOf(identity coppice.IdentityID, vm coppice.VMID) (coppice.Grant, error) {
	for _, g := range s.grants {
		if g.Identity == identity && g.VM == vm {
			g.Users = slices.Clone(g.Users)
			return g, nil
		}
	}
	return coppice.Grant{}, coppice.ErrNoGrant
}

// Grants implements [coppice.Grants].
func (s *Store) Grants(ctx context.Context, identity coppice.IdentityID) (all []coppice.Grant, err error) {
	err = s.locked(ctx, "list grants", func() error {
		all = sorted(s.grants, func(g coppice.Grant) bool { return g.Identity == identity }, oldestFirst(func(x coppice.Grant) (time.Time, string) { return x.GrantedAt, string(x.ID) }))
		return nil
	})
	return all, err
}

// UpdateGrant implements [coppice.Grants].
func (s *Store) UpdateGrant(ctx context.Context, identity coppice.IdentityID, vm coppice.VMID, users []string) (g coppice.Grant, err error) {
	err = s.locked(ctx, "update grant", func() (err error) {
		if g, err = s.grantOf(identity, vm); err == nil {
			g.Users = slices.Clone(users)
			s.grants[g.ID] = g
		}
		return err
	})
	return g, err
}

// DeleteGrant implements [coppice.Grants].
func (s *Store) DeleteGrant(ctx context.Context, identity coppice.IdentityID, vm coppice.VMID) error {
	return s.locked(ctx, "delete grant", func() error {
		g, err := s.grantOf(identity, vm)
		if err == nil {
			delete(s.grants, g.ID)
		}
		return err
	})
}
