package lifecycle

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/coppice-vm/coppice"
)

const (
	lookAbreast  = 8 // how many VMs are looked at at a time
	persistEvery = 100 * time.Millisecond
)

// settleAll settles the rows that an earlier daemon left, in the background,
// each with a time budget of its own.
func (m *Manager) settleAll(vms []coppice.VM) {
	m.mu.Lock()
	defer m.mu.Unlock()
	turns := make(chan struct{}, lookAbreast)
	for _, vm := range vms {
		m.launchFlight(m.base, vm.ID, m.entry(vm.ID), coppice.Idle, func(ctx context.Context) (coppice.VM, error) {
			turns <- struct{}{}
			seen, run := m.look(ctx, vm)
			<-turns
			return m.settle(ctx, vm, seen, run)
		})
	}
}

// settle makes a row and the host, as it was seen, agree.
func (m *Manager) settle(ctx context.Context, vm coppice.VM, seen Evidence, run coppice.Run) (coppice.VM, error) {
	state, action := Settle(vm.State, vm.Verb, seen)
	if vm.State == coppice.Running && state == coppice.Stopped && deletedBy(&vm, coppice.OnStop) {
		state, action = coppice.Absent, Remove
	}
	if vm.Account == coppice.SystemAccount {
		state, action = coppice.Absent, Remove // whoever wanted it is gone
	}
	if vm.Verb != coppice.Idle || state != vm.State || action == Discard {
		m.Log.Info("settling", "vm", vm.ID, "state", vm.State, "verb", vm.Verb, "seen", seen, "to", state, "action", action)
	}
	if run != nil && (action == Adopt || action == Redo) {
		m.takeUp(&vm, run, nil, vm.Activity.Idle)
	}
	m.settleNetwork(ctx, &vm, run != nil)
	if action == Redo {
		step, _ := Plan(state, vm.Verb)
		return m.carryOut(ctx, vm, step, m.workOf(ctx, vm.Verb))
	}
	if state == vm.State && vm.Verb == coppice.Idle && action != Discard {
		return vm, nil // nothing to write
	}
	if vm.State == coppice.Running && action == Rest && seen == Rebooted && m.StartAgain {
		return m.startAgain(ctx, vm)
	}
	vm.VerbSince = time.Time{} // the verb is not done, and what was no daemon's work took no time
	step := Step{Works: state, Fails: state}
	if action == Remove {
		step.Fails = coppice.Failed // to be deleted by its owner
	}
	return m.carryOut(ctx, vm, step, func(ctx context.Context, vm *coppice.VM) error {
		if vm.State == coppice.Running && state != coppice.Running {
			vm.Base = "" // what it was of has gone with the run
			vm.Reason = reasonFor(seen)
		}
		switch action {
		case Adopt:
			vm.Reason = "" // that was of the verb
		case Discard:
			return m.end(ctx, vm.ID)
		case Remove:
			if err := m.remove(ctx, vm.ID); err != nil {
				return err
			}
			vm.Base = ""
			vm.DeletedAt = time.Now().UTC()
		}
		return nil
	})
}

// rebooted is why VMs do not run any more, or run again.
const rebooted = "the host was rebooted"

// startAgain boots a VM that ran when the host was rebooted, when it is its turn.
// That it is stopped and to be started is written down at once, so that the next
// daemon goes on with it.
func (m *Manager) startAgain(ctx context.Context, vm coppice.VM) (coppice.VM, error) {
	id := vm.ID
	err := m.persist(ctx, func(ctx context.Context) (err error) {
		vm, err = m.Store.UpdateVM(ctx, id, func(vm *coppice.VM) error {
			vm.State = coppice.Stopped
			take(vm, coppice.Start)
			vm.Reason = rebooted
			return nil
		})
		return err
	})
	if err != nil {
		return vm, err
	}
	step, _ := Plan(vm.State, vm.Verb)
	return m.carryOut(ctx, vm, step, m.inTurn(ctx, func(ctx context.Context, vm *coppice.VM) error {
		vm.Base = "" // what it was of has gone with the run
		release, err := m.promise(ctx, vm.ID, vm.Size.MemoryMiB)
		if err != nil {
			return err
		}
		defer release()
		return m.boot(ctx, vm)
	}))
}

// inTurn returns the work of booting a VM that no user waits for: a few of them
// boot at a time. To wait for its turn takes none of its time.
func (m *Manager) inTurn(flight context.Context, boot work) work {
	return func(_ context.Context, vm *coppice.VM) error {
		select {
		case m.boots <- struct{}{}:
			defer func() { <-m.boots }()
		case <-flight.Done():
			return context.Cause(flight)
		}
		ctx, cancel := context.WithTimeout(flight, workDeadline)
		defer cancel()
		return boot(ctx, vm)
	}
}

// look finds out what the host has of a VM. Only a VM that should run is
// attached to, since that lets a guest go on that a suspend has left paused.
func (m *Manager) look(ctx context.Context, vm coppice.VM) (Evidence, coppice.Run) {
	ctx, cancel := context.WithTimeout(ctx, seeDeadline)
	defer cancel()
	if vm.State != coppice.Running {
		runs, err := m.Hypervisor.Runs(ctx)
		if err != nil || slices.Contains(runs, vm.ID) {
			return Silent, nil
		}
		return NoRun, nil
	}
	// What fails once, for want of a file descriptor or of memory, is no reason to
	// give a machine up.
	var run coppice.Run
	err := m.persist(ctx, func(ctx context.Context) (err error) {
		run, err = m.Hypervisor.Attach(ctx, vm.ID)
		return err
	}, coppice.ErrNoRun)
	switch {
	case err == nil:
		return Alive, run
	case !errors.Is(err, coppice.ErrNoRun):
		m.Log.Error("a VM's process does not answer", "vm", vm.ID, "error", err)
		return Silent, nil
	case vm.HostBoot != m.HostBoot:
		return Rebooted, nil
	}
	return NoRun, nil
}

// persist does something until it does not fail, or does for good, or ctx ends,
// or the daemon leaves: the next one goes on from what it finds.
func (m *Manager) persist(ctx context.Context, do func(context.Context) error, forGood ...error) error {
	for {
		err := do(ctx)
		if err == nil || slices.ContainsFunc(forGood, func(target error) bool { return errors.Is(err, target) }) {
			return err
		}
		select {
		case <-time.After(persistEvery):
		case <-ctx.Done():
			return err
		case <-m.base.Done():
			return err
		}
	}
}

// reasonFor says why a VM that ran does not any more.
func reasonFor(seen Evidence) string {
	switch seen {
	case Rebooted:
		return rebooted
	case Silent:
		return "its process does not answer; kill or start it to go on without it"
	}
	return "its process ended while no daemon was watching"
}

// workOf returns the work of a verb that is done again after a crash, in a flight.
func (m *Manager) workOf(flight context.Context, verb coppice.Verb) work {
	switch verb {
	case coppice.Start:
		return m.inTurn(flight, m.boot)
	case coppice.Resume:
		return m.resume
	case coppice.Reboot:
		return m.reboot
	case coppice.Stop:
		return m.stop
	case coppice.Kill:
		return m.pullPlug
	case coppice.Resize:
		return m.resizeAgain
	case coppice.Delete:
		return m.delete
	}
	return func(context.Context, *coppice.VM) error {
		return coppice.Errorf(coppice.CodeInternal, "the host does not know the verb %s that was in flight", verb)
	}
}
