package lifecycle

import (
	"context"
	"errors"

	"github.com/coppice-vm/coppice"
)

// Limits returns what an account may have at a time, and what it has.
func (m *Manager) Limits(ctx context.Context, account coppice.AccountID) (coppice.Limits, coppice.Usage, error) {
	limits, err := m.Quotas.Limits(ctx, account)
	usage, usageErr := m.Quotas.Usage(ctx, account)
	return limits, usage, errors.Join(err, usageErr)
}

// admits returns why there is no room in an account for something that is to be
// made; nil if there is by now. It is asked before anything is done. Whether
// there still is when the row is written, only the store can say.
func (m *Manager) admits(ctx context.Context, account coppice.AccountID, more coppice.Usage) error {
	limits, usage, err := m.Limits(ctx, account)
	if err != nil {
		return err
	}
	return limits.Admit(usage.Plus(more), coppice.Usage{}, more)
}

// newVMOf returns what a VM of that size counts for when it is made.
func newVMOf(size coppice.Size) coppice.Usage {
	return (&coppice.VM{Verb: coppice.Restore, Size: size}).Usage()
}
