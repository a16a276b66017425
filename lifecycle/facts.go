package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/coppice-vm/coppice"
)

// watch waits for the end of a run and sees to what follows from it, unless a
// verb has ended the run and let go of it.
func (m *Manager) watch(id coppice.VMID, run coppice.Run) {
	ctx, over := context.WithCancel(m.base)
	m.work.Go(func() { m.heed(ctx, id, run) })
	exit, err := run.Wait(m.base)
	over()
	if err != nil || exit.Kind == coppice.ExitKilled {
		return
	}
	m.Log.Info("run ended", "vm", id, "exit", exit.Kind, "detail", exit.Detail)
	for wait := tidySoon; ; wait = min(2*wait, tidyLater) {
		err := m.followUp(id, run, exit)
		if err == nil || !m.boards(id, run) || m.base.Err() != nil {
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
	r := m.follow(&vm, exit)
	r.still = func(e *entry) bool { return e.run == run }
	// Only when it is its turn does the row say what the run is to the VM: it may
	// begin with the verb now in flight, or end with it.
	r.edit = func(vm *coppice.VM) error {
		if vm.State == coppice.Suspended || vm.State == coppice.Stopped {
			return errMoot
		}
		return nil
	}
	for {
		_, err := m.perform(m.base, id, r)
		switch {
		case errors.Is(err, errMoot), errors.Is(err, errRefused) && r.verb == coppice.Reboot:
			if m.boards(id, run) {
				m.untidy() // what is left of the run is none of the VM's business
			}
			return nil
		case !errors.Is(err, errBusy):
			return err
		}
		m.flightOver(m.base, id)
	}
}

// heed puts it in the history when the guest of a run begins to wait for
// something, and when it goes on, until ctx ends.
func (m *Manager) heed(ctx context.Context, id coppice.VMID, run coppice.Run) {
	told := ""
	for {
		what, changed := run.Waits()
		if what != told {
			m.note(ctx, id, cmp.Or(what, "the guest has what it waited for and goes on"))
			told = what
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// sayWhy says of a VM whose guest waits for something what that is. It is on no
// record, which a crash could leave wrong.
func (m *Manager) sayWhy(vm *coppice.VM) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.vms[vm.ID]
	if e == nil || e.run == nil || vm.State != coppice.Running {
		return
	}
	if what, _ := e.run.Waits(); what != "" {
		vm.Reason = what
	}
}

// note puts what has happened to a VM that runs in its history.
func (m *Manager) note(ctx context.Context, id coppice.VMID, reason string) {
	event := coppice.Event{At: time.Now().UTC(), Verb: coppice.Idle, State: coppice.Running, Reason: reason}
	_, err := m.Store.UpdateVM(ctx, id, func(*coppice.VM) error { return nil }, event)
	if err != nil && ctx.Err() == nil && !errors.Is(err, coppice.ErrNoVM) {
		m.Log.Error("cannot write down what has happened to a VM", "vm", id, "reason", reason, "error", err)
	}
	m.tell()
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
