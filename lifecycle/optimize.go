package lifecycle

import (
	"context"
	"errors"
	"fmt"

	"github.com/coppice-vm/coppice"
)

// Optimize gives back what is stored for a VM and not needed, and says in a
// sentence what that was. Captures are whole, so there are no layers to be made
// one; but a VM that was restored and runs needs nothing of its capture but the
// memory. The disk that the VM began with, kept there, holds on to every block
// that the VM has replaced since.
func (m *Manager) Optimize(ctx context.Context, account coppice.AccountID, id coppice.VMID) (string, error) {
	vm, err := m.present(ctx, account, id)
	if err != nil {
		return "", err
	}
	switch {
	case vm.Base == "":
		return "nothing to do: the VM's disk is whole, and nothing else is kept of it", nil
	case vm.State != coppice.Running:
		return "nothing to do: all that is kept of the VM is needed to go on from it", nil
	}
	c, err := m.Captures.Capture(ctx, vm.Base)
	switch {
	case errors.Is(err, coppice.ErrNoCapture): // it is not the VM's base any more
		return "nothing to do: what the VM was restored from is gone already", nil
	case err != nil:
		return "", err
	case c.Keep:
		return "nothing to do: the VM began as a snapshot or the host's image, which is kept for others", nil
	}
	restores, err := m.mayRestore(ctx, c.ID)
	switch {
	case err != nil:
		return "", err
	case restores:
		return "nothing to do yet: another VM is still to go on from where this one began", nil
	}
	return m.trim(ctx, c.ID)
}

// mayRestore reports whether a VM may still be restored from a capture that is
// not kept. Once none may, none ever will: who could is at it already, or needs it.
func (m *Manager) mayRestore(ctx context.Context, id coppice.CaptureID) (bool, error) {
	m.mu.Lock()
	held := m.held[id] > 0
	m.mu.Unlock()
	if held {
		return true, nil
	}
	vms, err := m.Store.VMs(ctx, coppice.VMFilter{})
	for _, vm := range vms {
		if vm.Base == id && vm.State != coppice.Running {
			return true, nil
		}
	}
	return false, err
}

// trim leaves of a capture what runs need, and says what that gave back.
func (m *Manager) trim(ctx context.Context, id coppice.CaptureID) (string, error) {
	files := m.Pool.Capture(id)
	found, err := m.Pool.DiskFootprints(ctx, [][]string{{files.Disk, files.State}})
	if err != nil {
		return "", err
	}
	if found[0] == (coppice.Footprint{}) {
		return "nothing to do: of what the VM was restored from only the memory is kept, which it runs on", nil
	}
	if err := m.Pool.TrimCapture(ctx, id); err != nil {
		return "", err
	}
	return fmt.Sprintf("dropped the stored disk and devices that the VM was restored from, which nothing needs any more: that freed %.1f MiB",
		float64(found[0].Own)/(1<<20)), nil
}
