package lifecycle

import (
	"context"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/undo"
)

const (
	// warmUp is run in a spare until what it takes to run a command is warm.
	warmUp      = "true"
	warmUpTimes = 3
	// spareQuiet is how long nothing must have been created before spares are
	// made again: a guest that is in use goes before one that may be.
	spareQuiet = time.Second
	spareRetry = time.Minute // after one could not be made
)

// A spare is a VM of the default size that was restored ahead and waits to be
// somebody's. Until then the store does not know it: whatever of it a daemon
// leaves behind, the next one sweeps.
type spare struct {
	id      coppice.VMID
	base    coppice.CaptureID
	run     coppice.Run
	session coppice.Session
}

// keepSpares makes spares whenever there are fewer than there should be.
func (m *Manager) keepSpares() {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-m.base.Done():
			return
		case <-m.spareTaken:
			wait.Reset(spareQuiet)
		case <-wait.C:
			if m.spareCount() >= m.Spares {
				continue
			}
			wait.Reset(0)
			s, err := m.makeSpare(m.base)
			switch {
			case err == nil:
				m.mu.Lock()
				m.spares = append(m.spares, s)
				m.mu.Unlock()
			case m.base.Err() == nil:
				m.Log.Error("cannot restore a VM ahead; creating takes longer meanwhile", "error", err)
				wait.Reset(spareRetry)
			}
		}
	}
}

func (m *Manager) spareCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.spares)
}

// makeSpare restores a VM from the default size's template and warms it up.
func (m *Manager) makeSpare(ctx context.Context) (_ spare, err error) {
	c, err := m.template(ctx, m.Size)
	if err != nil {
		return spare{}, err
	}
	defer m.letFall(c.ID)
	vm := coppice.VM{ID: coppice.NewVMID(), Instance: coppice.NewInstanceID(), Size: c.Size, Base: c.ID}
	var undo undo.Stack
	defer func() { err = m.takeBack(ctx, &undo, &vm, err) }()
	undo.Push(func(ctx context.Context) error { return m.remove(ctx, vm.ID) })
	if _, err := m.Pool.CreateVM(ctx, vm.ID, m.Pool.Capture(c.ID).Disk, vm.Size); err != nil {
		return spare{}, err
	}
	run, err := m.Hypervisor.Start(ctx, m.machineOf(&vm))
	if err != nil {
		return spare{}, err
	}
	session, err := m.greet(ctx, run, identity(&vm, true))
	if err != nil {
		return spare{}, err
	}
	for range warmUpTimes {
		if _, err := session.Exec(ctx, coppice.ExecSpec{Command: warmUp}, coppice.Stdio{}); err != nil {
			session.Close()
			return spare{}, err
		}
	}
	undo.Keep()
	return spare{vm.ID, c.ID, run, session}, nil
}

// takeSpare returns a spare that was restored from a template; false if there is
// none.
func (m *Manager) takeSpare(template coppice.CaptureID) (spare, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.spares) == 0 || m.spares[0].base != template {
		return spare{}, false
	}
	s := m.spares[0]
	m.spares = m.spares[1:]
	select {
	case m.spareTaken <- struct{}{}:
	default: // it has been said
	}
	return s, true
}

// adopt returns the work of making a spare, whose session is closed, somebody's
// VM. If that fails, the VM is restored in the ordinary way.
func (m *Manager) adopt(s spare) work {
	return func(ctx context.Context, vm *coppice.VM) error {
		session, err := m.greet(ctx, s.run, identity(vm, true))
		if err != nil {
			m.Log.Warn("a VM restored ahead is of no use", "vm", vm.ID, "error", err)
			return m.resume(ctx, vm)
		}
		m.board(vm, s.run, session)
		return nil
	}
}

// dropSpares removes the spares that nobody took.
func (m *Manager) dropSpares(ctx context.Context) {
	m.mu.Lock()
	spares := m.spares
	m.spares = nil
	m.mu.Unlock()
	for _, s := range spares {
		s.session.Close()
		if err := m.remove(ctx, s.id); err != nil {
			m.Log.Error("cannot remove a VM restored ahead; the next daemon does", "vm", s.id, "error", err)
		}
	}
}
