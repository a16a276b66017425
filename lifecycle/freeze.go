package lifecycle

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/undo"
)

// freeze makes a capture of a VM whose verb the caller holds, and records it
// as like says. It returns the capture with a hold on it. A VM that runs goes on unless leave is LeavePaused; one that
// does not is captured from what is stored of it.
func (m *Manager) freeze(ctx context.Context, vm *coppice.VM, like coppice.Capture, leave coppice.Leave) (_ coppice.Capture, err error) {
	var undo undo.Stack
	defer func() { err = m.takeBack(ctx, &undo, vm, err) }()
	c := like
	c.ID = coppice.NewCaptureID()
	c.Source, c.Instance = vm.ID, vm.Instance
	c.Image, c.Size = vm.Image, vm.Size
	c.Live = vm.State != coppice.Stopped
	c.CreatedAt = time.Now().UTC()
	c.Keep = false // until it is whole

	id := c.ID // whatever becomes of c
	m.hold(id)
	undo.Push(func(context.Context) error {
		m.letFall(id)
		return nil
	})
	// The row comes before the files: what a sweep finds without one is nobody's.
	if err := m.Captures.InsertCapture(ctx, c); err != nil {
		return c, err
	}
	files, err := m.Pool.BeginCapture(ctx, c.ID)
	if err != nil {
		return c, err
	}
	if err := m.fill(ctx, vm, c.ID, files, leave); err != nil {
		return c, err
	}
	if vm.State == coppice.Running && leave == coppice.LeavePaused {
		run := m.runOf(vm.ID)
		undo.Push(func(ctx context.Context) error {
			err := m.persist(ctx, run.Resume, coppice.ErrNoRun)
			if errors.Is(err, coppice.ErrNoRun) {
				return nil // whoever watches the run sees to its end
			}
			return err
		})
	}
	if _, err := m.Pool.CommitCapture(ctx, c.ID); err != nil {
		return c, err
	}
	if !like.Keep && leave == coppice.LeaveRunning {
		m.writeBack(c.ID)
		undo.Keep()
		return c, nil
	}
	if err := m.Pool.SyncCapture(ctx, c.ID); err != nil {
		return c, err
	}
	if like.Keep {
		c, err = m.Captures.UpdateCapture(ctx, c.ID, func(c *coppice.Capture) error {
			c.Keep = true
			return nil
		})
		if err != nil {
			return c, err
		}
	}
	undo.Keep()
	return c, nil
}

// writeBack has a capture that is only forked from written to the disk. Nobody
// waits for that: when the host loses power its children have lost their memory
// too, and their disks are their own. But a capture of one of them would have to
// wait for what is not written by then.
func (m *Manager) writeBack(id coppice.CaptureID) {
	m.work.Go(func() {
		if err := m.Pool.SyncCapture(m.base, id); err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.Log.Warn("a capture could not be written to the disk", "capture", id, "error", err)
		}
	})
}

// fill writes the files of a capture of vm.
func (m *Manager) fill(ctx context.Context, vm *coppice.VM, id coppice.CaptureID, dst coppice.CaptureFiles, leave coppice.Leave) error {
	switch vm.State {
	case coppice.Running:
		ctx, end := m.phaseWith(ctx, vm, id, "capture")
		stats, err := m.runOf(vm.ID).Capture(ctx, dst, leave)
		if !stats.Paused.IsZero() {
			m.pastPhase(ctx, vm, id, "pause", stats.Paused, stats.Pause, err)
		}
		end(err)
		m.Log.Info("captured", "vm", vm.ID, "pause", stats.Pause, "dirtyMiB", stats.DirtyMiB, "error", err)
		return err
	case coppice.Suspended:
		src := m.Pool.Capture(vm.Base)
		return errors.Join(
			m.Pool.Clone(ctx, dst.Memory, src.Memory),
			m.Pool.Clone(ctx, dst.State, src.State),
			m.Pool.Clone(ctx, dst.Disk, src.Disk))
	}
	return m.Pool.Clone(ctx, dst.Disk, m.Pool.VM(vm.ID).Disk)
}

// discard removes a capture that was not to be kept and that nothing needs.
func (m *Manager) discard(ctx context.Context, id coppice.CaptureID) error {
	defer m.drop(id)()
	if _, err := m.Captures.UpdateCapture(ctx, id, func(c *coppice.Capture) error {
		c.Keep = false
		return nil
	}); err != nil && !errors.Is(err, coppice.ErrNoCapture) {
		return err
	}
	return m.release(ctx, id)
}

// release removes a capture unless something still needs it.
func (m *Manager) release(ctx context.Context, id coppice.CaptureID) error {
	m.mu.Lock()
	held := m.held[id] > 0
	m.mu.Unlock()
	if held {
		return nil // letFall comes back to it
	}
	defer m.drop(id)()
	err := m.Captures.DropCapture(ctx, id)
	if errors.Is(err, coppice.ErrInUse) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.Pool.RemoveCapture(ctx, id)
}

// drop says that a capture may be about to be removed, until what it returns is called.
func (m *Manager) drop(id coppice.CaptureID) (dropped func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropping[id]++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.dropping[id]--; m.dropping[id] == 0 {
			delete(m.dropping, id)
		}
	}
}

// hold keeps a capture from being removed before there is a VM that needs it.
// Every hold is ended by letFall.
func (m *Manager) hold(id coppice.CaptureID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held[id]++
}

// letFall ends a hold. With the last one goes the capture, unless something
// needs it by now.
func (m *Manager) letFall(id coppice.CaptureID) {
	defer m.drop(id)()
	m.mu.Lock()
	m.held[id]--
	if m.held[id] > 0 {
		m.mu.Unlock()
		return
	}
	delete(m.held, id)
	m.mu.Unlock()
	m.shed(id)
}

// shed removes a capture unless something still needs it; later, if it cannot be now.
func (m *Manager) shed(id coppice.CaptureID) {
	if err := m.release(m.base, id); err != nil && m.base.Err() == nil {
		m.Log.Error("cannot remove a capture that is not needed any more", "capture", id, "error", err)
		m.untidy()
	}
}

// runOf returns the run of a VM whose verb the caller holds; nil if there is none.
func (m *Manager) runOf(id coppice.VMID) coppice.Run {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entry(id).run
}
