package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/coppice-vm/coppice"
)

// Stop shuts a VM down: its guest is asked, and powered off if it has not
// shut itself down in a minute. The disk stays, the memory does not.
func (m *Manager) Stop(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error) {
	vm, err := m.present(ctx, account, id)
	if err != nil {
		return vm, err
	}
	if vm.State == coppice.Failed {
		return m.kill(ctx, &vm) // there is no guest left to ask
	}
	return m.perform(ctx, id, m.orDelete(&vm, coppice.OnStop, request{verb: coppice.Stop, do: m.stop}))
}

// Kill ends a VM at once, like pulling the plug, whatever it is doing. The
// disk stays as it is.
func (m *Manager) Kill(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error) {
	vm, err := m.present(ctx, account, id)
	if err != nil {
		return vm, err
	}
	return m.kill(ctx, &vm)
}

func (m *Manager) kill(ctx context.Context, vm *coppice.VM) (coppice.VM, error) {
	return m.perform(ctx, vm.ID, m.orDelete(vm, coppice.OnStop, request{verb: coppice.Kill, do: m.pullPlug}))
}

// Delete removes a VM from whatever state it is in. Deleting it again does nothing.
func (m *Manager) Delete(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error) {
	vm, err := m.VM(ctx, account, id)
	if err != nil || vm.Deleted() {
		return vm, err
	}
	return m.perform(ctx, id, request{verb: coppice.Delete, do: m.delete})
}

// stop is the work of shutting down.
func (m *Manager) stop(ctx context.Context, vm *coppice.VM) error {
	m.mu.Lock()
	e := *m.entry(vm.ID)
	m.mu.Unlock()
	if e.run != nil {
		if err := m.shutDown(ctx, vm, e); err != nil {
			m.Log.Warn("the guest did not shut down", "vm", vm.ID, "error", err)
			vm.Reason = "the guest did not shut down by itself and was powered off"
		}
	}
	return m.pullPlug(ctx, vm)
}

// shutDown asks the guest to power off and waits until it has. An error means
// that it has not.
func (m *Manager) shutDown(ctx context.Context, vm *coppice.VM, e entry) error {
	ctx, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	if err := m.ask(ctx, vm, e); err != nil {
		return err
	}
	_, err := e.run.Wait(ctx)
	return err
}

func (m *Manager) ask(ctx context.Context, vm *coppice.VM, e entry) error {
	ctx, cancel := context.WithTimeout(ctx, askDeadline)
	defer cancel()
	session, err := m.session(ctx, vm, e)
	if err != nil {
		return err
	}
	if err := session.Shutdown(ctx); !errors.Is(err, coppice.ErrGuestGone) {
		return err
	}
	return nil // it may have been quicker than its answer
}

// pullPlug is the work of ending a VM at once.
func (m *Manager) pullPlug(ctx context.Context, vm *coppice.VM) error {
	if err := m.end(ctx, vm.ID); err != nil {
		return coppice.Errorf(coppice.CodeInternal, "the VM's process could not be ended").Because(err)
	}
	vm.Base = ""
	return nil
}

// delete is the work of removing a VM.
func (m *Manager) delete(ctx context.Context, vm *coppice.VM) error {
	if err := m.remove(ctx, vm.ID); err != nil {
		return coppice.Errorf(coppice.CodeInternal, "not everything of the VM could be removed; delete it again").Because(err)
	}
	vm.Base = ""
	vm.DeletedAt = time.Now().UTC()
	return nil
}
