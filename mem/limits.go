package mem

import (
	"context"
	"fmt"

	"github.com/coppice-vm/coppice"
)

// SetLimits implements [coppice.Quotas].
func (s *Store) SetLimits(ctx context.Context, account coppice.AccountID, limits coppice.Limits) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("set limits of account %q: %w", account, err)
	}
	if account == "" {
		return fmt.Errorf("set limits: no account")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits[account] = limits
	return nil
}

// Limits implements [coppice.Quotas].
func (s *Store) Limits(ctx context.Context, account coppice.AccountID) (coppice.Limits, error) {
	if err := ctx.Err(); err != nil {
		return coppice.Limits{}, fmt.Errorf("read limits of account %q: %w", account, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limitsOf(account), nil
}

// Usage implements [coppice.Quotas].
func (s *Store) Usage(ctx context.Context, account coppice.AccountID) (coppice.Usage, error) {
	if err := ctx.Err(); err != nil {
		return coppice.Usage{}, fmt.Errorf("read usage of account %q: %w", account, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usageOf(account), nil
}

// limitsOf returns an account's limits. The caller holds s.mu, here and below.
func (s *Store) limitsOf(account coppice.AccountID) coppice.Limits {
	if limits, ok := s.limits[account]; ok {
		return limits
	}
	return coppice.DefaultLimits
}

func (s *Store) usageOf(account coppice.AccountID) (all coppice.Usage) {
	for _, vm := range s.vms {
		if vm.Account == account {
			all = all.Plus(vm.Usage())
		}
	}
	for _, c := range s.captures {
		if c.Account == account {
			all = all.Plus(c.Usage())
		}
	}
	return all
}

// admit returns why a row that counted for before may not stay as it has been
// written, counting for now.
func (s *Store) admit(account coppice.AccountID, before, now coppice.Usage) error {
	return s.limitsOf(account).Admit(s.usageOf(account), before, now)
}
