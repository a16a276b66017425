package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/coppice-vm/coppice"
)

// watch waits for the end of a run and sees to what follows from it, unless a
// verb has ended the run and let go of it.
func (m *Manager) watch(id coppice.VMID, run coppice.Run) {
	exit, err := run.Wait(m.base)
	if err != nil || exit.Kind == coppice.ExitKilled {
		return
	}
	m.Log.Info("run ended", "vm", id, "exit", exit.Kind, "detail", exit.Detail)
	for wait := tidySoon; ; wait = min(2*wait, tidyLater) {
		err := m.followUp(id, run, exit)
		if !m.boards(id, run) || m.base.Err() != nil {
			return
		}
		m.Log.Error("the end of a run could not be followed; trying again", "vm", id, "error", err)
		select {
		case <-time.After(wait):
		case <-m.base.Done():
			return
		}
	}
}

// boards reports whether a run is still a VM's.
func (m *Manager) boards(id coppice.VMID, run coppice.Run) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.vms[id]
	return e != nil && e.run == run
}

// followUp does what follows from the end of a VM's run, when it is its turn.
func (m *Manager) followUp(id coppice.VMID, run coppice.Run, exit coppice.Exit) error {
	vm, err := m.Store.VM(m.base, id)
	if err != nil {
		return err
	}
	if vm.State == coppice.Suspended {
		m.untidy() // what is left of its run is none of its business
		return nil
	}
	r := m.follow(&vm, exit)
	r.still = func(e *entry) bool { return e.run == run }
	for {
		_, err := m.perform(m.base, id, r)
		if !errors.Is(err, errBusy) {
			return err
		}
		m.flightOver(m.base, id)
	}
}

// follow returns the request that the end of a VM's run leads to.
func (m *Manager) follow(vm *coppice.VM, exit coppice.Exit) request {
	switch exit.Kind {
	case coppice.ExitPowerOff:
		return m.orDelete(vm, coppice.OnStop, request{verb: coppice.Kill, why: "the guest powered itself off", do: m.pullPlug})
	case coppice.ExitReboot:
		return request{verb: coppice.Reboot, do: m.reboot}
	}
	return request{verb: coppice.Kill, do: func(ctx context.Context, vm *coppice.VM) error {
		if err := m.pullPlug(ctx, vm); err != nil {
			return err
		}
		return exitError(exit)
	}}
}

// reboot is the work of following a guest's reset with a new run.
func (m *Manager) reboot(ctx context.Context, vm *coppice.VM) error {
	if err := m.pullPlug(ctx, vm); err != nil {
		return err
	}
	return m.boot(ctx, vm)
}

// flightOver waits until what is in flight on a VM is done.
func (m *Manager) flightOver(ctx context.Context, id coppice.VMID) {
	if f := m.flightOf(id); f != nil {
		f.wait(ctx)
	}
}

// flightOf returns what is in flight on a VM; nil if nothing is.
func (m *Manager) flightOf(id coppice.VMID) *flight {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entry(id).flight
}
