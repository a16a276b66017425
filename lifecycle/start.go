package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/undo"
)

// Start makes a VM run and returns when it can be used: a suspended one goes on
// where it was, a stopped one boots, a lost one boots from the disk it left.
// Nothing is done to one that runs, beyond what the options say.
func (m *Manager) Start(ctx context.Context, account coppice.AccountID, id coppice.VMID, options coppice.StartOptions) (coppice.VM, error) {
	return m.start(ctx, account, id, options, "")
}

// start is Start for what by says in a word, which is empty if somebody asked for it.
// If nobody did, a VM that is not asleep any more is left as it is.
func (m *Manager) start(ctx context.Context, account coppice.AccountID, id coppice.VMID, options coppice.StartOptions, by string) (coppice.VM, error) {
	why := ""
	if by != "" {
		why = "woken for " + by
	}
	edit := func(vm *coppice.VM) error {
		if options.IdleTimeout != nil {
			vm.IdleTimeout = *options.IdleTimeout
		}
		if options.ActivityBytes != nil {
			vm.ActivityBytes = *options.ActivityBytes
		}
		return nil
	}
	for {
		vm, err := m.present(ctx, account, id)
		if err != nil {
			return vm, err
		}
		if f := m.flightOf(id); f != nil && startWaitsFor(f.verb) {
			if _, err := f.wait(ctx); ctx.Err() != nil {
				return vm, err
			}
			continue
		}
		if by != "" && vm.State != coppice.Suspended {
			return vm, nil
		}
		r := request{verb: coppice.Start, do: m.boot, edit: edit, why: why}
		switch vm.State {
		case coppice.Suspended:
			r = request{verb: coppice.Resume, do: m.wake(by), edit: edit, why: why}
		case coppice.Failed:
			r = request{verb: coppice.Kill, do: m.pullPlug}
		}
		release := func() {}
		if vm.State == coppice.Stopped || vm.State == coppice.Suspended {
			if release, err = m.promise(ctx, id, vm.Size.MemoryMiB); err != nil {
				return vm, err
			}
		}
		m.Touch(id) // before a timeout that has passed already is put down
		started, err := m.perform(ctx, id, r)
		m.whenDone(id, release)
		joined := started
		if edit(&joined) == nil && err == nil && started.State == coppice.Running && joined == started {
			m.stir() // what the options say holds from now on
			return started, nil
		}
		if err != nil && !m.overtaken(ctx, vm, err) {
			return started, err
		}
	}
}

// startWaitsFor reports whether a start waits for verb to be done, rather than
// to clash with it: after it, the VM runs or can be made to.
func startWaitsFor(verb coppice.Verb) bool {
	return leadsToRunning(verb) && verb != coppice.Start || verb == coppice.Suspend || verb == coppice.Cut
}

// overtaken reports whether err may be due to something that was done to the VM
// after vm was read, and that a start puts up with.
func (m *Manager) overtaken(ctx context.Context, vm coppice.VM, err error) bool {
	if errors.Is(err, errBusy) {
		f := m.flightOf(vm.ID)
		return f == nil || startWaitsFor(f.verb)
	}
	now, storeErr := m.Store.VM(ctx, vm.ID)
	return errors.Is(err, errRefused) && storeErr == nil && now.State != vm.State
}

// boot is the work of starting a VM afresh from its disk.
func (m *Manager) boot(ctx context.Context, vm *coppice.VM) error {
	if err := m.end(ctx, vm.ID); err != nil { // a crash may have left a process
		return err
	}
	image, err := m.Pool.Image(ctx, vm.Image)
	if err != nil {
		return err
	}
	files := m.Pool.VM(vm.ID)
	vm.Base = ""
	return m.run(ctx, vm, coppice.Machine{
		VM:       vm.ID,
		Instance: vm.Instance,
		Size:     vm.Size,
		Disk:     files.Disk,
		Memory:   files.Memory,
		Boot:     &image,
	})
}

// run begins a run and returns when the guest has taken its identity, and the
// VM's files are durable.
func (m *Manager) run(ctx context.Context, vm *coppice.VM, machine coppice.Machine) (err error) {
	var undo undo.Stack
	defer func() { err = m.takeBack(ctx, &undo, vm, err) }()
	ctx, cancel := context.WithTimeout(ctx, bootDeadline)
	defer cancel()

	synced := m.meanwhile(func() error { return m.Pool.SyncVM(ctx, vm.ID) })
	undo.Push(func(context.Context) error { synced(); return nil })
	undo.Push(func(ctx context.Context) error { return m.Network.TearDown(ctx, vm.ID) })
	part, end := m.phase(ctx, vm, "network")
	err = m.connect(part, vm)
	if end(err); err != nil {
		return startError(err)
	}
	part, end = m.phase(ctx, vm, "process")
	run, err := m.Hypervisor.Start(part, machine)
	if end(err); err != nil {
		return startError(err)
	}
	undo.Push(run.Kill)
	part, end = m.phase(ctx, vm, "guest")
	session, err := m.greet(part, run, identity(vm, true))
	if end(err); err != nil {
		return startError(err)
	}
	_, end = m.phase(ctx, vm, "sync")
	err = synced()
	if end(err); err != nil {
		session.Close()
		return err
	}
	m.board(vm, run, session)
	undo.Keep()
	return nil
}

// meanwhile begins to do something, and returns what waits for its outcome. It
// is called by one who does work in flight.
func (m *Manager) meanwhile(do func() error) (outcome func() error) {
	var err error
	done := make(chan struct{})
	m.work.Go(func() {
		defer close(done)
		err = do()
	})
	return func() error {
		<-done
		return err
	}
}

// greet connects to the guest of a run. It gives up when the run ends or the
// daemon leaves.
func (m *Manager) greet(ctx context.Context, run coppice.Run, id coppice.GuestIdentity) (coppice.Session, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer context.AfterFunc(m.base, func() { cancel(leaving()) })()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if exit, err := run.Wait(ctx); err == nil {
			cancel(exitError(exit))
		}
	}()
	session, err := m.Guest.Connect(ctx, run.DialAgent, id)
	cancel(nil)
	<-ended
	var exit *coppice.Error
	if err != nil && errors.As(context.Cause(ctx), &exit) {
		err = exit
	}
	return session, err
}

// identity is what a guest is told of itself.
func identity(vm *coppice.VM, fresh bool) coppice.GuestIdentity {
	return coppice.GuestIdentity{VM: vm.ID, Instance: vm.Instance, Hostname: hostname(vm), Fresh: fresh}
}

// hostname is the VM's name where that is one a host can have, else its id.
func hostname(vm *coppice.VM) string {
	if coppice.ValidLabel(vm.Name) {
		return vm.Name
	}
	return string(vm.ID)
}

// board makes a run that has begun the VM's.
func (m *Manager) board(vm *coppice.VM, run coppice.Run, opened coppice.Session) {
	vm.StartedAt = time.Now().UTC()
	vm.HostBoot = m.HostBoot
	m.takeUp(vm, run, opened, 0)
}

// takeUp takes up a run that has been idle for so long, and its session if there
// is one yet, and watches it.
func (m *Manager) takeUp(vm *coppice.VM, run coppice.Run, opened coppice.Session, idle time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := vm.ID
	e := m.entry(id)
	e.run, e.session, e.gone, e.memoryMiB = run, newSession(), make(chan struct{}), vm.Size.MemoryMiB
	e.session.open = opened
	e.usage.begin(idle)
	m.work.Go(func() { m.watch(id, run) })
}

// end ends the VM's process, whether taken up or not, and its network, and lets go
// of it. What cannot be ended is later, unless the VM is to have it by then.
func (m *Manager) end(ctx context.Context, id coppice.VMID) (err error) {
	defer func() {
		if err != nil {
			m.untidy()
		}
	}()
	m.mu.Lock()
	e := m.entry(id)
	m.mu.Unlock()
	// run, session and gone change only in the flight that calls this.
	if e.run != nil {
		if err := e.run.Kill(ctx); err != nil {
			return err
		}
	}
	if err := m.Hypervisor.Discard(ctx, id); err != nil {
		return err
	}
	if err := m.Network.TearDown(ctx, id); err != nil {
		return err
	}
	if e.run == nil {
		return nil
	}
	e.session.close()
	m.mu.Lock()
	defer m.mu.Unlock()
	close(e.gone)
	e.run, e.session, e.gone = nil, nil, nil
	return nil
}
