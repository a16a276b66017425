package lifecycle

import (
	"cmp"
	"context"

	"github.com/coppice-vm/coppice"
)

// Suspend keeps a running VM's memory, devices and disk, and ends its process.
// Start goes on from there.
func (m *Manager) Suspend(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error) {
	vm, err := m.present(ctx, account, id)
	if err != nil {
		return vm, err
	}
	return m.perform(ctx, id, m.orDelete(&vm, coppice.OnSuspend, request{verb: coppice.Suspend, do: m.suspend, after: m.suspended}))
}

// suspend is the work of suspending, up to the point where the row says so.
// Only then may the process, which is paused, be ended: a crash before leaves a
// VM that runs, a crash after one that is suspended.
func (m *Manager) suspend(ctx context.Context, vm *coppice.VM) error {
	c, err := m.freeze(ctx, vm, coppice.Capture{Account: vm.Account}, coppice.LeavePaused)
	if err != nil {
		return err
	}
	vm.Base = c.ID
	return nil
}

// suspended ends the process of a VM whose row says that it is suspended.
func (m *Manager) suspended(ctx context.Context, vm *coppice.VM) error {
	m.letFall(vm.Base) // freeze's hold: now the VM needs it
	return m.end(ctx, vm.ID)
}

// wake is resume for what by says, or for a start if that is empty.
func (m *Manager) wake(by string) work {
	return func(ctx context.Context, vm *coppice.VM) error {
		err := m.resume(ctx, vm)
		if err == nil {
			m.Observer.Woke(cmp.Or(by, "start"))
		}
		return err
	}
}

// resume is the work of going on where a VM was suspended. The disk is made
// anew from the capture: the memory fits that one only, and an earlier attempt
// may have written to the VM's own.
func (m *Manager) resume(ctx context.Context, vm *coppice.VM) error {
	if err := m.end(ctx, vm.ID); err != nil {
		return err
	}
	return m.thaw(ctx, vm)
}

// thaw gives a VM the disk of the capture vm.Base and goes on from there.
func (m *Manager) thaw(ctx context.Context, vm *coppice.VM) error {
	part, end := m.phase(ctx, vm, "files")
	_, err := m.Pool.CreateVM(part, vm.ID, m.Pool.Capture(vm.Base).Disk, vm.Size)
	if end(err); err != nil {
		return err
	}
	return m.run(ctx, vm, m.machineOf(vm))
}

// machineOf returns the machine that goes on from the capture vm.Base.
func (m *Manager) machineOf(vm *coppice.VM) coppice.Machine {
	capture := m.Pool.Capture(vm.Base)
	return coppice.Machine{
		VM:       vm.ID,
		Instance: vm.Instance,
		Size:     vm.Size,
		Disk:     m.Pool.VM(vm.ID).Disk,
		Memory:   capture.Memory,
		State:    capture.State,
	}
}
