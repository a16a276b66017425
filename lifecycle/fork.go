package lifecycle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
)

const (
	maxForks = 100
	// abreast is how many children are restored at a time: enough to keep the
	// host busy, few enough that the first are not held up by the last.
	abreast = 4
)

// Fork makes new VMs that go on from where a VM is now, which runs on. It
// returns when every child can be used or has failed, in their order. The VM is
// busy only while it is captured.
func (m *Manager) Fork(ctx context.Context, account coppice.AccountID, id coppice.VMID, spec coppice.ForkSpec) ([]coppice.Fork, error) {
	if spec.Count < 1 || spec.Count > maxForks {
		return nil, coppice.Errorf(coppice.CodeInvalidRequest, "count is %d; it can be 1 to %d", spec.Count, maxForks)
	}
	if err := coppice.CheckName(spec.Name, coppice.CodeInvalidRequest); err != nil {
		return nil, err
	}
	parent, err := m.present(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if err := m.roomForOne(ctx, &parent, spec); err != nil {
		return nil, err
	}
	return detach(ctx, m, func(ctx context.Context) ([]coppice.Fork, error) {
		parent, c, err := m.cut(ctx, id, coppice.Capture{Account: account})
		if err != nil {
			return nil, err
		}
		defer m.letFall(c.ID)
		return m.branch(ctx, parent, c, spec), nil
	})
}

// roomForOne returns why there is no room for even one child; nil if there is.
func (m *Manager) roomForOne(ctx context.Context, parent *coppice.VM, spec coppice.ForkSpec) error {
	if parent.State == coppice.Stopped && spec.LeaveStopped {
		child := coppice.VM{State: coppice.Stopped, Size: parent.Size}
		if err := m.admits(ctx, parent.Account, child.Usage()); err != nil {
			return err
		}
		return m.room(ctx)
	}
	release, err := m.makeRoom(ctx, parent.Account, parent.Size)
	if err == nil {
		release()
	}
	return err
}

// branch restores the children of a fork, some at a time.
func (m *Manager) branch(ctx context.Context, parent coppice.VM, c coppice.Capture, spec coppice.ForkSpec) []coppice.Fork {
	forks := make([]coppice.Fork, spec.Count)
	var wg sync.WaitGroup
	turns := make(chan struct{}, abreast)
	for i := range forks {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			vm, err := m.child(ctx, parent, c, spec, i)
			forks[i] = coppice.Fork{VM: vm, Err: err}
		})
	}
	wg.Wait()
	return forks
}

// child restores the i-th child of a fork.
func (m *Manager) child(ctx context.Context, parent coppice.VM, c coppice.Capture, spec coppice.ForkSpec, i int) (coppice.VM, error) {
	vm := coppice.VM{
		ID:          coppice.NewVMID(),
		Account:     parent.Account,
		Name:        spec.Name,
		State:       coppice.Absent,
		Size:        c.Size,
		Persistence: parent.Persistence,
		IdleTimeout: parent.IdleTimeout,

		ActivityBytes: parent.ActivityBytes,
		Egress:        parent.Egress,
		Private:       parent.Private,
		Image:         c.Image,
		Base:          c.ID,
		Parent:        parent.ID,
		CreatedAt:     time.Now().UTC(),
	}
	if spec.Name != "" && spec.Count > 1 {
		vm.Name = fmt.Sprintf("%s-%d", spec.Name, i+1)
	}
	if spec.Persistence != nil {
		vm.Persistence = *spec.Persistence
	}
	if spec.IdleTimeout != nil {
		vm.IdleTimeout = *spec.IdleTimeout
	}
	step, _ := Plan(coppice.Absent, coppice.Restore)
	if !c.Live && spec.LeaveStopped {
		step.Works = coppice.Stopped
	} else {
		release, err := m.promise(ctx, vm.ID, vm.Size.MemoryMiB)
		if err != nil {
			return vm, err
		}
		defer release()
	}
	if c.Live {
		vm.ID = m.newID(c.Size)
	}
	return m.insert(ctx, vm, step, m.sprout(c, step.Works))
}

// sprout returns the work of making a VM from a capture: it goes on from a live
// one, and boots the disk of another unless it is to be left stopped.
func (m *Manager) sprout(c coppice.Capture, goal coppice.State) work {
	if c.Live {
		return m.thaw
	}
	return func(ctx context.Context, vm *coppice.VM) error {
		if _, err := m.Pool.CreateVM(ctx, vm.ID, m.Pool.Capture(c.ID).Disk, vm.Size); err != nil {
			return err
		}
		vm.Base = ""
		if goal == coppice.Stopped {
			return m.Pool.SyncVM(ctx, vm.ID)
		}
		return m.boot(ctx, vm)
	}
}

// cut captures a VM, as like says, and returns the VM as it was, and the capture
// with a hold on it.
func (m *Manager) cut(ctx context.Context, id coppice.VMID, like coppice.Capture) (coppice.VM, coppice.Capture, error) {
	var c coppice.Capture
	vm, err := m.perform(ctx, id, request{verb: coppice.Cut, do: func(ctx context.Context, vm *coppice.VM) (err error) {
		c, err = m.freeze(ctx, vm, like, coppice.LeaveRunning)
		return err
	}, after: m.setClock})
	if err != nil {
		return vm, coppice.Capture{}, err // the work may still be at c
	}
	return vm, c, nil
}

// setClock makes up for a pause: the clock of the guest stood still meanwhile.
// Nobody waits for that.
func (m *Manager) setClock(_ context.Context, vm *coppice.VM) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := *m.entry(vm.ID)
	if e.run == nil {
		return nil
	}
	m.work.Go(func() {
		ctx, cancel := context.WithTimeout(m.base, askDeadline)
		defer cancel()
		session, err := m.session(ctx, vm, e)
		if err == nil {
			err = session.SetClock(ctx)
		}
		if err != nil && m.base.Err() == nil {
			m.Log.Warn("the clock of a guest could not be set after it was captured", "vm", vm.ID, "error", err)
		}
	})
	return nil
}

// detach does something to its end, or to the daemon's, whether or not the
// caller whose ctx it is waits for that.
func detach[T any](ctx context.Context, m *Manager, do func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	done := make(chan result, 1)
	m.mu.Lock()
	if m.base.Err() != nil {
		m.mu.Unlock()
		return none, leaving()
	}
	m.work.Go(func() {
		value, err := do(m.forWhom(ctx))
		done <- result{value, err}
	})
	m.mu.Unlock()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
