package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/coppice-vm/coppice"
)

// TakeSnapshot captures a VM, which goes on as before, and keeps the capture
// under a name until it is deleted. It outlives the VM.
func (m *Manager) TakeSnapshot(ctx context.Context, account coppice.AccountID, id coppice.VMID, name string, persistence coppice.Persistence) (coppice.Capture, error) {
	if err := coppice.CheckName(name, coppice.CodeSnapBadRequest); err != nil {
		return coppice.Capture{}, err
	}
	if _, err := m.present(ctx, account, id); err != nil {
		return coppice.Capture{}, err
	}
	if persistence.Type == "" {
		persistence = coppice.Persistence{Type: coppice.Sticky, Priority: defaultPriority}
	}
	like := coppice.Capture{Account: account, Name: name, Keep: true, Persistence: persistence}
	if err := m.admits(ctx, account, like.Usage()); err != nil {
		return coppice.Capture{}, err
	}
	if err := m.room(ctx); err != nil {
		return coppice.Capture{}, err
	}
	return detach(ctx, m, func(ctx context.Context) (coppice.Capture, error) {
		_, c, err := m.cut(ctx, id, like)
		if err == nil {
			m.letFall(c.ID)
		}
		return c, err
	})
}

// Snapshots lists an account's snapshots, oldest first: deleted ones too, as
// long as VMs need them.
func (m *Manager) Snapshots(ctx context.Context, account coppice.AccountID) ([]coppice.Capture, error) {
	all, err := m.Captures.Captures(ctx, account)
	var snapshots []coppice.Capture
	for _, c := range all {
		if isSnapshot(c) {
			snapshots = append(snapshots, c)
		}
	}
	return snapshots, err
}

// Snapshot returns an account's snapshot that has not been deleted.
func (m *Manager) Snapshot(ctx context.Context, account coppice.AccountID, id coppice.CaptureID) (coppice.Capture, error) {
	c, err := m.Captures.Capture(ctx, id)
	if err != nil && !errors.Is(err, coppice.ErrNoCapture) {
		return c, err
	}
	if err != nil || c.Account != account || !c.Keep {
		return c, noSnapshot(id)
	}
	return c, nil
}

// RenameSnapshot gives a snapshot another name, which may be empty.
func (m *Manager) RenameSnapshot(ctx context.Context, account coppice.AccountID, id coppice.CaptureID, name string) (coppice.Capture, error) {
	if err := coppice.CheckName(name, coppice.CodeInvalidRequest); err != nil {
		return coppice.Capture{}, err
	}
	if c, err := m.Snapshot(ctx, account, id); err != nil {
		return c, err
	}
	return m.Captures.UpdateCapture(ctx, id, func(c *coppice.Capture) error {
		c.Name = name
		return nil
	})
}

// DeleteSnapshot deletes a snapshot. VMs that came from it go on; what they
// need of it is removed with the last of them.
func (m *Manager) DeleteSnapshot(ctx context.Context, account coppice.AccountID, id coppice.CaptureID) error {
	defer m.drop(id)()
	if _, err := m.Snapshot(ctx, account, id); err != nil {
		return err
	}
	if _, err := m.Captures.UpdateCapture(ctx, id, func(c *coppice.Capture) error {
		c.Keep = false
		c.DeletedAt = time.Now().UTC()
		return nil
	}); err != nil {
		return err
	}
	m.shed(id)
	return nil
}

// isSnapshot tells snapshots from the captures made for forks and suspends.
func isSnapshot(c coppice.Capture) bool { return c.Keep || !c.DeletedAt.IsZero() }
