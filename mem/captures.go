package mem

import (
	"context"
	"fmt"
	"time"

	"github.com/coppice-vm/coppice"
)

// InsertCapture implements [coppice.Captures].
func (s *Store) InsertCapture(ctx context.Context, c coppice.Capture) error {
	return s.locked(ctx, fmt.Sprintf("insert capture %q", c.ID), func() error {
		if err := checkCapture(c); err != nil {
			return err
		}
		if _, taken := s.captures[c.ID]; taken {
			return coppice.ErrExists
		}
		if err := s.checkOwner(c.Account); err != nil {
			return err
		}
		s.captures[c.ID] = c
		err := s.admit(c.Account, coppice.Usage{}, c.Usage())
		if err != nil {
			delete(s.captures, c.ID)
		}
		return err
	})
}

// Capture implements [coppice.Captures].
func (s *Store) Capture(ctx context.Context, id coppice.CaptureID) (c coppice.Capture, err error) {
	err = s.locked(ctx, fmt.Sprintf("read capture %q", id), func() (err error) {
		c, err = have(s.captures, id, coppice.ErrNoCapture)
		return err
	})
	return c, err
}

// Captures implements [coppice.Captures].
func (s *Store) Captures(ctx context.Context, account coppice.AccountID) (all []coppice.Capture, err error) {
	err = s.locked(ctx, "list captures", func() error {
		all = sorted(s.captures, func(c coppice.Capture) bool { return account == "" || c.Account == account },
			oldestFirst(func(x coppice.Capture) (time.Time, string) { return x.CreatedAt, string(x.ID) }))
		return nil
	})
	return all, err
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
	return s.locked(ctx, fmt.Sprintf("drop capture %q", id), func() error {
		needed := s.captures[id].Keep
		for _, vm := range s.vms {
			needed = needed || vm.Base == id
		}
		if needed {
			return coppice.ErrInUse
		}
		delete(s.captures, id)
		return nil
	})
}

// checkBase refuses a row whose capture is not there. The caller holds s.mu.
func (s *Store) checkBase(vm coppice.VM) error {
	if _, ok := s.captures[vm.Base]; vm.Base != "" && !ok {
		return fmt.Errorf("base %q: %w", vm.Base, coppice.ErrNoCapture)
	}
	return nil
}
