package lifecycle

import (
	"context"
	"errors"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/undo"
)

// Resize gives a VM another size and returns when it has it. One that runs is
// shut down for that and boots again: its disk is kept, its memory is not. One
// that is suspended loses its memory, and is stopped, only if that is allowed.
// Where it fails, the VM has the size it had, and runs again if it ran.
func (m *Manager) Resize(ctx context.Context, account coppice.AccountID, id coppice.VMID, spec coppice.ResizeSpec) (coppice.VM, error) {
	vm, err := m.present(ctx, account, id)
	if err != nil {
		return vm, err
	}
	if spec.VCPUs == nil && spec.MemoryMiB == nil && spec.DiskMiB == nil {
		return vm, coppice.Errorf(coppice.CodeResizeEmpty, "nothing is to be resized: ask for a number of CPUs, for memory or for a larger disk")
	}
	size, err := resized(vm.Size, spec)
	if err != nil || size == vm.Size && vm.Verb == coppice.Idle {
		return vm, err
	}
	release, err := m.roomToGrow(ctx, &vm, size)
	if err != nil {
		return vm, err
	}
	defer m.whenDone(id, release)
	vm, err = m.perform(ctx, id, request{verb: coppice.Resize, do: m.resize, edit: func(vm *coppice.VM) error {
		size, err := resized(vm.Size, spec) // it may have another size by now
		switch {
		case err != nil:
			return err
		case size == vm.Size:
			return errMoot
		case vm.State == coppice.Suspended && !spec.DiscardMemory:
			return losesMemory(vm)
		}
		vm.Target = size
		return nil
	}})
	if errors.Is(err, errMoot) {
		return m.present(ctx, account, id)
	}
	return vm, err
}

// roomToGrow sets aside what a VM that is to have another size needs beyond what
// is kept for it now, until release.
func (m *Manager) roomToGrow(ctx context.Context, vm *coppice.VM, size coppice.Size) (release func(), err error) {
	if size.DiskMiB > vm.Size.DiskMiB {
		if err := m.room(ctx); err != nil {
			return nil, err
		}
	}
	more := m.Budget.Need(size.MemoryMiB) - m.Budget.Need(vm.Size.MemoryMiB)
	if vm.State != coppice.Running || more <= 0 {
		return func() {}, nil
	}
	return m.setAside(ctx, vm.ID, more)
}

// losesMemory says why a suspended VM is not resized.
func losesMemory(vm *coppice.VM) error {
	return coppice.Errorf(coppice.CodeVMNotRunning, "VM %s is suspended, and what it has in memory fits its size only: start it first, or allow that its memory is lost (discardMemory)", vm.ID).
		With("vmId", vm.ID)
}

// resize is the work of giving a VM the size vm.Target.
func (m *Manager) resize(ctx context.Context, vm *coppice.VM) error {
	before, target := *vm, vm.Target
	if vm.State == coppice.Running {
		if err := m.stop(ctx, vm); err != nil {
			vm.Target = coppice.Size{}
			return &detour{err, coppice.Failed}
		}
		vm.Reason = ""
	}
	err := m.refit(ctx, vm)
	if m.base.Err() != nil {
		return err // the row keeps the target: whoever comes next resizes again
	}
	vm.Target = coppice.Size{}
	if err == nil {
		return nil
	}
	m.Log.Error("a VM could not be resized", "vm", vm.ID, "from", before.Size, "to", target, "error", err)
	vm.Size, vm.Base = before.Size, before.Base
	if before.State != coppice.Running {
		return resizeError(err, "it is as it was")
	}
	vm.Base = "" // that was of the run
	if ctx.Err() != nil {
		return err
	}
	vm.Instance = coppice.NewInstanceID()
	if bootErr := m.boot(ctx, vm); bootErr != nil {
		return resizeError(errors.Join(err, bootErr), "it is stopped, with its old size, since it did not boot again either")
	}
	return &detour{resizeError(err, "it has its old size and has booted again"), coppice.Running}
}

// resizeAgain is the work of a resize that a crash cut short. The guest may have
// grown into its disk by then, and there is no way back from that.
func (m *Manager) resizeAgain(ctx context.Context, vm *coppice.VM) error {
	if vm.State != coppice.Suspended {
		vm.Size.DiskMiB = vm.Target.DiskMiB
	}
	return m.resize(ctx, vm)
}

// refit gives a VM without a process the size vm.Target, and boots it if it is
// one that ran. Where it fails, the files are what they were.
func (m *Manager) refit(ctx context.Context, vm *coppice.VM) (err error) {
	was := *vm
	was.State = coppice.Stopped // so that its disk is kept, and nothing else
	kept, err := m.freeze(ctx, &was, coppice.Capture{Account: vm.Account}, coppice.LeaveRunning)
	if err != nil {
		return err
	}
	defer m.letFall(kept.ID)
	var undo undo.Stack
	defer func() { err = m.takeBack(ctx, &undo, vm, err) }()
	undo.Push(func(ctx context.Context) error {
		_, err := m.Pool.CreateVM(ctx, vm.ID, m.Pool.Capture(kept.ID).Disk, was.Size)
		return errors.Join(err, m.Pool.SyncVM(ctx, vm.ID))
	})
	if err := m.Pool.ResizeVM(ctx, vm.ID, vm.Target); err != nil {
		return err
	}
	if err := m.Pool.SyncVM(ctx, vm.ID); err != nil {
		return err
	}
	vm.Size, vm.Base = vm.Target, ""
	if vm.State == coppice.Running {
		if err := m.boot(ctx, vm); err != nil {
			return err
		}
	}
	undo.Keep()
	return nil
}

// resizeError says why a VM could not be resized, and how it is left.
func resizeError(err error, left string) *coppice.Error {
	e := asError(err)
	if e.Code == coppice.CodeNoStorage {
		return e
	}
	return coppice.Errorf(coppice.CodeResizeFailed, "the VM could not be resized: %s; %s", e.Message, left).Because(err)
}
