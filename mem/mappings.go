package mem

import (
	"cmp"
	"context"
	"fmt"

	"github.com/coppice-vm/coppice"
)

// PutMapping implements [coppice.Mappings].
func (s *Store) PutMapping(ctx context.Context, m coppice.Mapping) error {
	return s.locked(ctx, fmt.Sprintf("map %q", m.Name), func() error {
		if m.Name == "" || m.VM == "" || m.Port == 0 || m.CreatedAt.IsZero() {
			return errIncomplete
		}
		if _, err := have(s.accounts, m.Account, coppice.ErrNoAccount); err != nil {
			return err
		}
		if old, taken := s.mappings[m.Name]; taken && old.Account != m.Account {
			return coppice.ErrExists
		}
		s.mappings[m.Name] = m
		return nil
	})
}

// Mapping implements [coppice.Mappings].
func (s *Store) Mapping(ctx context.Context, name string) (m coppice.Mapping, err error) {
	err = s.locked(ctx, fmt.Sprintf("read mapping of %q", name), func() (err error) {
		m, err = have(s.mappings, name, coppice.ErrNoMapping)
		return err
	})
	return m, err
}

// Mappings implements [coppice.Mappings].
func (s *Store) Mappings(ctx context.Context, account coppice.AccountID) (all []coppice.Mapping, err error) {
	err = s.locked(ctx, "list mappings", func() error {
		all = sorted(s.mappings, func(m coppice.Mapping) bool { return m.Account == account },
			func(a, b coppice.Mapping) int { return cmp.Compare(a.Name, b.Name) })
		return nil
	})
	return all, err
}

// DeleteMapping implements [coppice.Mappings].
func (s *Store) DeleteMapping(ctx context.Context, account coppice.AccountID, name string) error {
	return s.locked(ctx, fmt.Sprintf("delete mapping of %q", name), func() error {
		if m, err := have(s.mappings, name, coppice.ErrNoMapping); err != nil || m.Account != account {
			return coppice.ErrNoMapping
		}
		delete(s.mappings, name)
		return nil
	})
}
