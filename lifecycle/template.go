package lifecycle

import (
	"context"
	"fmt"
	"time"

	"github.com/coppice-vm/coppice"
)

// maxTemplates bounds how many sizes are kept ready to start from.
const maxTemplates = 8

// settled makes a template's guest wait until everything that starts with it
// has, so that what starts from the template finds nothing left to start.
const settled = "systemctl is-system-running --wait >/dev/null; sync"

// Template returns the capture that new VMs of a size start from: a machine
// that has booted the host's image. It is made at the first call, which takes a
// boot, and found at every other.
func (m *Manager) Template(ctx context.Context, size coppice.Size) (coppice.Capture, error) {
	// One at a time: a second caller finds what the first has made.
	select {
	case m.templating <- struct{}{}:
		defer func() { <-m.templating }()
	case <-ctx.Done():
		return coppice.Capture{}, ctx.Err()
	}
	templates, err := m.templates(ctx)
	if err != nil {
		return coppice.Capture{}, err
	}
	for _, c := range templates {
		if c.Size.VCPUs == size.VCPUs && c.Size.MemoryMiB == size.MemoryMiB {
			return c, nil
		}
	}
	if len(templates) >= maxTemplates {
		// The oldest after the first, which is the default size's.
		if err := m.discard(ctx, templates[1].ID); err != nil {
			return coppice.Capture{}, err
		}
	}
	return detach(ctx, m, func(ctx context.Context) (coppice.Capture, error) {
		return m.makeTemplate(ctx, size)
	})
}

// templates lists the templates of the host's image, oldest first, and removes
// those of images that it had before.
func (m *Manager) templates(ctx context.Context) ([]coppice.Capture, error) {
	all, err := m.Captures.Captures(ctx, coppice.SystemAccount)
	var templates []coppice.Capture
	for _, c := range all {
		switch {
		case !c.Keep:
		case c.Image == m.Image:
			templates = append(templates, c)
		default:
			m.Log.Info("removing the template of an earlier image", "capture", c.ID, "image", c.Image)
			err = m.discard(ctx, c.ID)
		}
	}
	return templates, err
}

// makeTemplate boots a VM of the host's own, captures it, and removes it.
func (m *Manager) makeTemplate(ctx context.Context, size coppice.Size) (c coppice.Capture, err error) {
	image, err := m.Pool.Image(ctx, m.Image)
	if err != nil {
		return c, err
	}
	size.DiskMiB = image.DiskMiB
	name := fmt.Sprintf("template-%d-%d", size.VCPUs, size.MemoryMiB)
	step, _ := Plan(coppice.Absent, coppice.Restore)
	vm, err := m.insert(ctx, coppice.VM{
		ID: coppice.NewVMID(), Account: coppice.SystemAccount, Name: name, State: coppice.Absent, Size: size,
		Persistence: coppice.Persistence{Type: coppice.Ephemeral}, Image: image.ID, CreatedAt: time.Now().UTC(),
	}, step, m.create)
	if err != nil {
		return c, err
	}
	defer m.Delete(m.base, coppice.SystemAccount, vm.ID)
	session, err := m.Session(ctx, coppice.SystemAccount, vm.ID)
	if err != nil {
		return c, err
	}
	if _, err := session.Exec(ctx, coppice.ExecSpec{Command: settled}, coppice.Stdio{}); err != nil {
		return c, err
	}
	_, c, err = m.cut(ctx, vm.ID, coppice.Capture{Account: coppice.SystemAccount, Name: name, Keep: true})
	if err == nil {
		m.letFall(c.ID)
	}
	return c, err
}
