package mem

import (
	"context"
	"fmt"

	"github.com/coppice-vm/coppice"
)

// SetLimits implements [coppice.Quotas].
func (s *Store) SetLimits(ctx context.Context, account coppice.AccountID, limits coppice.Limits) error {
	return s.locked(ctx, fmt.Sprintf("set limits of account %q", account), func() error {
		if account == "" {
			return errIncomplete
		}
		s.limits[account] = limits
		return nil
	})
}

// Limits implements [coppice.Quotas].
func (s *Store) Limits(ctx context.Context, account coppice.AccountID) (limits coppice.Limits, err error) {
	err = s.locked(ctx, fmt.Sprintf("read limits of account %q", account), func() error {
		limits = s.limitsOf(account)
		return nil
	})
	return limits, err
}

// Usage implements [coppice.Quotas].
func (s *Store) Usage(ctx context.Context, account coppice.AccountID) (usage coppice.Usage, err error) {
	err = s.locked(ctx, fmt.Sprintf("read usage of account %q", account), func() error {
		usage = s.usageOf(account)
		return nil
	})
	return usage, err
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
