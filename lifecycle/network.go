package lifecycle

import (
	"context"
	"errors"
	"net"

	"github.com/coppice-vm/coppice"
)

// connect gives a VM that is about to run its network, or has the one it has
// allow what it should.
func (m *Manager) connect(ctx context.Context, vm *coppice.VM) error {
	err := m.Network.SetUp(ctx, vm.ID, vm.Egress.Or(m.Egress))
	if err != nil && ctx.Err() == nil {
		return coppice.Errorf(coppice.CodeInternal, "the VM's network could not be set up; coppice doctor may say why").Because(err)
	}
	return err
}

// settleNetwork makes the network of a VM that an earlier daemon left what it
// should be: there for one that runs, and only for that.
func (m *Manager) settleNetwork(ctx context.Context, vm *coppice.VM, runs bool) {
	do := func() error { return m.Network.TearDown(ctx, vm.ID) }
	if runs {
		do = func() error { return m.connect(ctx, vm) }
	}
	if err := do(); err != nil && m.base.Err() == nil {
		m.Log.Error("the network of a VM is not as it should be", "vm", vm.ID, "runs", runs, "error", err)
		m.untidy()
	}
}

// Dial connects to a TCP port of a VM's guest, for one whom by names as in
// [Manager.Use]: a VM that is suspended is woken. The connection ends with the
// run. [coppice.ErrRefused] is in the chain of the error if nothing listens there.
func (m *Manager) Dial(ctx context.Context, account coppice.AccountID, id coppice.VMID, port uint16, by string) (net.Conn, error) {
	_, release, err := m.Use(ctx, account, id, by)
	if err != nil {
		return nil, err
	}
	defer release()
	return m.Network.Dial(ctx, id, port)
}

// Link says what an account's VM may reach, and what has gone to and from it.
func (m *Manager) Link(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.Link, error) {
	vm, err := m.present(ctx, account, id)
	if err != nil {
		return coppice.Link{}, err
	}
	link := coppice.Link{Egress: vm.Egress.Or(m.Egress), Default: vm.Egress == ""}
	link.Traffic, err = m.Network.Traffic(ctx, id)
	if errors.Is(err, coppice.ErrNoNetwork) {
		err = nil // it does not run
	}
	return link, err
}

// SetEgress changes what an account's VM may reach, at once if it runs; empty is
// the host's default. It waits for what is in flight, and others wait for it.
func (m *Manager) SetEgress(ctx context.Context, account coppice.AccountID, id coppice.VMID, egress coppice.Egress) (coppice.Link, error) {
	for {
		if _, err := m.present(ctx, account, id); err != nil {
			return coppice.Link{}, err
		}
		f, mine, err := m.enterToSetEgress(ctx, id, egress)
		if err != nil {
			return coppice.Link{}, err
		}
		_, err = f.wait(ctx)
		switch {
		case ctx.Err() != nil:
			return coppice.Link{}, ctx.Err()
		case mine && err != nil && m.base.Err() != nil:
			return coppice.Link{}, leaving()
		case mine && err != nil:
			return coppice.Link{}, asError(err)
		case mine:
			return m.Link(ctx, account, id)
		}
	}
}

// SetPrivate says whether what an account's VM serves on the web is for those
// only who may use it. Nothing that is in flight is waited for.
func (m *Manager) SetPrivate(ctx context.Context, account coppice.AccountID, id coppice.VMID, private bool) (coppice.VM, error) {
	if _, err := m.present(ctx, account, id); err != nil {
		return coppice.VM{}, err
	}
	vm, err := m.Store.UpdateVM(ctx, id, func(vm *coppice.VM) error {
		vm.Private = private
		return nil
	})
	if err != nil {
		return coppice.VM{}, asError(err)
	}
	return vm, nil
}

// enterToSetEgress puts the change of a policy in flight, or returns what is.
func (m *Manager) enterToSetEgress(ctx context.Context, id coppice.VMID, egress coppice.Egress) (f *flight, mine bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(id)
	if e.flight != nil {
		return e.flight, false, nil
	}
	if m.base.Err() != nil {
		return nil, false, leaving()
	}
	runs := e.run != nil
	return m.launchFlight(ctx, id, e, coppice.Idle, func(ctx context.Context) (coppice.VM, error) {
		return m.changeEgress(ctx, id, egress, runs)
	}), true, nil
}

// changeEgress puts a policy in force, and then on record. What is in force
// without being on record, the next one who looks puts right.
func (m *Manager) changeEgress(ctx context.Context, id coppice.VMID, egress coppice.Egress, runs bool) (coppice.VM, error) {
	vm, err := m.Store.VM(ctx, id)
	if err != nil || vm.Deleted() {
		return vm, err // it was deleted meanwhile, and is found to be
	}
	before := vm
	if vm.Egress = egress; runs {
		if err := m.connect(ctx, &vm); err != nil {
			return before, err
		}
	}
	vm, err = m.Store.UpdateVM(ctx, id, func(vm *coppice.VM) error {
		vm.Egress = egress
		return nil
	})
	if err != nil && runs {
		err = errors.Join(err, m.connect(m.base, &before))
	}
	return vm, err
}
