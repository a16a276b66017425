package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/undo"
)

// Start makes a VM run and returns when it can be used: a stopped one boots,
// a lost one boots from the disk it left. Nothing is done to one that runs,
// beyond what the options say.
func (m *Manager) Start(ctx context.Context, account coppice.AccountID, id coppice.VMID, options coppice.StartOptions) (coppice.VM, error) {
	vm, err := m.present(ctx, account, id)
	if err != nil {
		return vm, err
	}
	if vm.State == coppice.Failed {
		if _, err := m.kill(ctx, id); err != nil {
			return vm, err
		}
	}
	return m.perform(ctx, id, request{
		verb: coppice.Start,
		do:   m.boot,
		edit: func(vm *coppice.VM) {
			if options.IdleTimeout != nil {
				vm.IdleTimeout = *options.IdleTimeout
			}
		},
	})
}

// boot is the work of starting a VM afresh from its disk.
func (m *Manager) boot(ctx context.Context, vm *coppice.VM) error {
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

// run begins a run and returns when the guest has taken its identity.
func (m *Manager) run(ctx context.Context, vm *coppice.VM, machine coppice.Machine) (err error) {
	var undo undo.Stack
	defer func() { err = m.takeBack(ctx, &undo, vm, err) }()
	ctx, cancel := context.WithTimeout(ctx, bootDeadline)
	defer cancel()

	run, err := m.Hypervisor.Start(ctx, machine)
	if err != nil {
		return startError(err)
	}
	undo.Push(run.Kill)
	session, err := m.greet(ctx, run, identity(vm, true))
	if err != nil {
		return startError(err)
	}
	vm.StartedAt = time.Now().UTC()
	vm.HostBoot = m.HostBoot
	m.board(vm.ID, run, session)
	undo.Keep()
	return nil
}

// greet connects to the guest of a run. It gives up when the run ends or the
// daemon leaves.
func (m *Manager) greet(ctx context.Context, run coppice.Run, id coppice.Identity) (coppice.Session, error) {
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
func identity(vm *coppice.VM, fresh bool) coppice.Identity {
	return coppice.Identity{VM: vm.ID, Instance: vm.Instance, Hostname: hostname(vm), Fresh: fresh}
}

// hostname is the VM's name where that is one a host can have, else its id.
func hostname(vm *coppice.VM) string {
	if len(vm.Name) == 0 || len(vm.Name) > 63 || vm.Name[0] == '-' || vm.Name[len(vm.Name)-1] == '-' {
		return string(vm.ID)
	}
	for _, c := range []byte(vm.Name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return string(vm.ID)
		}
	}
	return vm.Name
}

// board takes up a run, and its session if there is one yet, and watches it.
func (m *Manager) board(id coppice.VMID, run coppice.Run, opened coppice.Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(id)
	e.run, e.session, e.gone = run, newSession(), make(chan struct{})
	e.session.open = opened
	m.work.Go(func() { m.watch(id, run) })
}

// end ends the VM's process, whether taken up or not, and lets go of it.
func (m *Manager) end(ctx context.Context, id coppice.VMID) error {
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
