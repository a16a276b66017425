package lifecycle

import (
	"context"
	"errors"
	"slices"

	"github.com/coppice-vm/coppice"
)

// sweep removes what the host has of VMs that the store does not know, or knows
// to be deleted. A VM's row is there before anything else of it, and becomes a
// tombstone after everything else is gone: what is swept belongs to nobody.
func (m *Manager) sweep(ctx context.Context) error {
	files, err := m.Pool.VMs(ctx)
	if err != nil {
		return err
	}
	runs, err := m.Hypervisor.Runs(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range slices.Compact(slices.Sorted(slices.Values(append(files, runs...)))) {
		vm, err := m.Store.VM(ctx, id)
		if errors.Is(err, coppice.ErrNoVM) || err == nil && vm.Deleted() {
			m.Log.Warn("removing what is left of a VM that is not there", "vm", id)
			err = m.remove(ctx, id)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
