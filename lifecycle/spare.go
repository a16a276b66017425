package lifecycle

import (
	"context"
	"maps"
	"slices"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/undo"
)

const (
	// warmUp is run in a spare until what it takes to run a command is warm.
	warmUp      = "true"
	warmUpTimes = 3
)

// A spare is a VM of the default size that was restored ahead and waits to be
// somebody's. Until then the store does not know it: whatever of it a daemon
// leaves behind, the next one sweeps.
type spare struct {
	id      coppice.VMID
	base    coppice.CaptureID
	run     coppice.Run
	session coppice.Session
	// unwatch is called when somebody takes it.
	unwatch context.CancelFunc
}

// makeSpare restores a VM from the default size's template, warms it up, and
// puts it in stock.
func (m *Manager) makeSpare(ctx context.Context) (err error) {
	c, err := m.template(ctx, m.Size)
	if err != nil {
		return err
	}
	defer m.letFall(c.ID)
	release, err := m.roomOnHost(ctx, m.Size)
	if err != nil {
		return err
	}
	defer release()
	vm := coppice.VM{ID: coppice.NewVMID(), Instance: coppice.NewInstanceID(), Size: c.Size, Base: c.ID}
	var undo undo.Stack
	defer func() { err = m.takeBack(ctx, &undo, &vm, err) }()
	m.setRowless(vm.ID, true)
	undo.Push(func(ctx context.Context) error { return m.remove(ctx, vm.ID) })
	if _, err := m.Pool.CreateVM(ctx, vm.ID, m.Pool.Capture(c.ID).Disk, vm.Size); err != nil {
		return err
	}
	if err := m.connect(ctx, &vm); err != nil {
		return err
	}
	run, err := m.Hypervisor.Start(ctx, m.machineOf(&vm))
	if err != nil {
		return err
	}
	session, err := m.greet(ctx, run, identity(&vm, true))
	if err != nil {
		return err
	}
	if err := m.Pool.SyncVM(ctx, vm.ID); err != nil {
		session.Close()
		return err
	}
	for range warmUpTimes {
		if _, err := session.Exec(ctx, coppice.ExecSpec{Command: warmUp}, coppice.Stdio{}); err != nil {
			session.Close()
			return err
		}
	}
	undo.Keep()
	watched, unwatch := context.WithCancel(m.base)
	s := spare{vm.ID, c.ID, run, session, unwatch}
	m.spares.put(s)
	m.work.Go(func() { m.watchSpare(watched, s) })
	return nil
}

// watchSpare removes a spare whose run ends before somebody has taken it.
func (m *Manager) watchSpare(ctx context.Context, s spare) {
	defer s.unwatch()
	exit, err := s.run.Wait(ctx)
	if err != nil || !m.spares.drop(func(other spare) bool { return other.id == s.id }) {
		return
	}
	m.Log.Warn("a VM restored ahead has ended", "vm", s.id, "exit", exit.Kind, "detail", exit.Detail)
	s.session.Close()
	if err := m.remove(m.base, s.id); err != nil {
		m.Log.Error("cannot remove a VM restored ahead; trying again", "vm", s.id, "error", err)
	}
}

// adopt returns the work of making a spare, whose session is closed, somebody's
// VM. If that fails, the VM is restored in the ordinary way.
func (m *Manager) adopt(s spare) work {
	return func(ctx context.Context, vm *coppice.VM) error {
		part, end := m.phase(ctx, vm, "network")
		err := m.connect(part, vm)
		if end(err); err != nil {
			return err
		}
		part, end = m.phase(ctx, vm, "guest")
		session, err := m.greet(part, s.run, identity(vm, true))
		if end(err); err != nil {
			m.Log.Warn("a VM restored ahead is of no use", "vm", vm.ID, "error", err)
			return m.resume(ctx, vm)
		}
		m.board(vm, s.run, session)
		return nil
	}
}

// dropStocks removes what was made ahead, or was being made, and nobody took, and
// what is there of the VMs that templates are made of: their rows are the next
// daemon's to delete. It gives up what hangs: a daemon that is told to leave does.
func (m *Manager) dropStocks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.Pace.Drop)
	defer cancel()
	for _, s := range m.spares.empty() {
		s.session.Close()
	}
	m.husks.empty()
	m.mu.Lock()
	ids := slices.Collect(maps.Keys(m.rowless))
	m.mu.Unlock()
	vms, err := m.Store.VMs(ctx, coppice.VMFilter{Account: coppice.SystemAccount})
	if err != nil {
		m.Log.Error("cannot look for what templates are made of; the next daemon does", "error", err)
	}
	for _, vm := range vms {
		ids = append(ids, vm.ID)
	}
	for _, id := range ids {
		if err := m.remove(ctx, id); err != nil {
			m.Log.Error("cannot remove a VM that is nobody's; the next daemon does", "vm", id, "error", err)
		}
	}
}
