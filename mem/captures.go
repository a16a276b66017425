package mem

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/coppice-vm/coppice"
)

// InsertCapture implements [coppice.Captures].
func (s *Store) InsertCapture(ctx context.Context, c coppice.Capture) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(ctx.Err(), checkCapture(c)); err != nil {
		return fmt.Errorf("insert capture %q: %w", c.ID, err)
	}
	if _, taken := s.captures[c.ID]; taken {
		return fmt.Errorf("insert capture %q: %w", c.ID, coppice.ErrExists)
	}
	if err := s.checkOwner(c.Account); err != nil {
		return fmt.Errorf("insert capture %q: %w", c.ID, err)
	}
	s.captures[c.ID] = c
	if err := s.admit(c.Account, coppice.Usage{}, c.Usage()); err != nil {
		delete(s.captures, c.ID)
		return fmt.Errorf("insert capture %q: %w", c.ID, err)
	}
	return nil
}

// Capture implements [coppice.Captures].
func (s *Store) Capture(ctx context.Context, id coppice.CaptureID) (coppice.Capture, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.captures[id]
	switch {
	case ctx.Err() != nil:
		return coppice.Capture{}, fmt.Errorf("read capture %q: %w", id, ctx.Err())
	case !ok:
		return coppice.Capture{}, fmt.Errorf("read capture %q: %w", id, coppice.ErrNoCapture)
	}
	return c, nil
}

// Captures implements [coppice.Captures].
func (s *Store) Captures(ctx context.Context, account coppice.AccountID) ([]coppice.Capture, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list captures: %w", err)
	}
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.captures))
	s.mu.Unlock()
	captures := slices.DeleteFunc(all, func(c coppice.Capture) bool {
		return account != "" && c.Account != account
	})
	slices.SortFunc(captures, func(a, b coppice.Capture) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return captures, nil
}

// UpdateCapture implements [coppice.Captures].
func (s *Store) UpdateCapture(ctx context.Context, id coppice.CaptureID, change func(*coppice.Capture) error) (coppice.Capture, error) {
	if err := ctx.Err(); err != nil {
		return coppice.Capture{}, fmt.Errorf("update capture %q: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.captures[id]
	if !ok {
		return coppice.Capture{}, fmt.Errorf("update capture %q: %w", id, coppice.ErrNoCapture)
	}
	c := old
	if err := change(&c); err != nil {
		return coppice.Capture{}, err
	}
	if c.ID != old.ID || c.Account != old.Account || !c.CreatedAt.Equal(old.CreatedAt) {
		return coppice.Capture{}, fmt.Errorf("update capture %q: id, account and creation time may not change", id)
	}
	if err := checkCapture(c); err != nil {
		return coppice.Capture{}, fmt.Errorf("update capture %q: %w", id, err)
	}
	s.captures[id] = c
	if err := s.admit(c.Account, old.Usage(), c.Usage()); err != nil {
		s.captures[id] = old
		return coppice.Capture{}, fmt.Errorf("update capture %q: %w", id, err)
	}
	return c, nil
}

// DropCapture implements [coppice.Captures].
func (s *Store) DropCapture(ctx context.Context, id coppice.CaptureID) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("drop capture %q: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	needed := s.captures[id].Keep
	for _, vm := range s.vms {
		needed = needed || vm.Base == id
	}
	if needed {
		return fmt.Errorf("drop capture %q: %w", id, coppice.ErrInUse)
	}
	delete(s.captures, id)
	return nil
}

// checkBase refuses a row whose capture is not there. The caller holds s.mu.
func (s *Store) checkBase(vm coppice.VM) error {
	if _, ok := s.captures[vm.Base]; vm.Base != "" && !ok {
		return fmt.Errorf("base %q: %w", vm.Base, coppice.ErrNoCapture)
	}
	return nil
}
