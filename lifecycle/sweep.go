package lifecycle

import (
	"context"
	"errors"
	"slices"

	"github.com/coppice-vm/coppice"
)

// leftovers are what an earlier daemon left on the host that belongs to nobody.
type leftovers struct {
	vms      []coppice.VMID
	captures []coppice.CaptureID
}

// leftovers looks for VMs that the store does not know or knows to be deleted,
// and for captures that nothing needs. It is called before anything new is
// made: the row of a VM or capture is there before anything else of it, and
// goes when everything else has gone.
func (m *Manager) leftovers(ctx context.Context) (leftovers, error) {
	var left leftovers
	files, err := m.Pool.VMs(ctx)
	if err != nil {
		return left, err
	}
	runs, err := m.Hypervisor.Runs(ctx)
	if err != nil {
		return left, err
	}
	networks, err := m.Network.Networks(ctx)
	if err != nil {
		return left, err
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(files, runs, networks)))) {
		vm, err := m.Store.VM(ctx, id)
		if errors.Is(err, coppice.ErrNoVM) || err == nil && vm.Deleted() {
			left.vms = append(left.vms, id)
			m.setRowless(id, true) // until it has been removed
		} else if err != nil {
			return left, err
		}
	}
	if left.captures, err = m.Pool.Captures(ctx); err != nil {
		return left, err
	}
	rows, err := m.Captures.Captures(ctx, "")
	for _, c := range rows {
		left.captures = append(left.captures, c.ID)
	}
	return left, err
}

// sweep removes leftovers. What is needed is not removed, even if it is named.
func (m *Manager) sweep(ctx context.Context, left leftovers) error {
	var errs []error
	for _, id := range left.vms {
		m.Log.Warn("removing what is left of a VM that is not there", "vm", id)
		errs = append(errs, m.remove(ctx, id))
	}
	for _, id := range left.captures {
		errs = append(errs, m.release(ctx, id))
	}
	return errors.Join(append(errs, m.sweepImages(ctx))...)
}

// sweepImages removes the images of earlier builds that nothing boots from any more.
func (m *Manager) sweepImages(ctx context.Context) error {
	s, err := m.survey(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range s.compare() {
		if d.Kind == coppice.TraceImage && !d.Missing {
			m.Log.Info("removing an image that nothing boots from", "image", d.Image)
			errs = append(errs, m.erase(ctx, d.Trace))
		}
	}
	return errors.Join(errs...)
}
