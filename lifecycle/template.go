package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coppice-vm/coppice"
)

// maxTemplates bounds how many sizes are kept ready to start from.
const maxTemplates = 8

// settled makes a template's guest wait until everything that starts with it
// has, so that what starts from the template finds nothing left to start.
const settled = "systemctl is-system-running --wait >/dev/null; sync"

// settleTime is how long a template's guest gets for that. One that hangs in
// something is usable all the same.
const settleTime = 3 * time.Minute

// Template returns the capture that new VMs of a size start from: a machine
// that has booted the host's image. It is made at the first call, which takes a
// boot, and found at every other.
func (m *Manager) Template(ctx context.Context, size coppice.Size) (coppice.Capture, error) {
	c, err := m.template(ctx, size)
	if err == nil {
		m.letFall(c.ID)
	}
	return c, err
}

// template is Template with a hold on what it returns. One caller looks, and
// makes what there is not, for all that come meanwhile.
func (m *Manager) template(ctx context.Context, size coppice.Size) (coppice.Capture, error) {
	return detach(ctx, m, func(ctx context.Context) (coppice.Capture, error) {
		m.templating.Lock()
		defer m.templating.Unlock()
		return m.findTemplate(ctx, size)
	})
}

func (m *Manager) findTemplate(ctx context.Context, size coppice.Size) (coppice.Capture, error) {
	templates, err := m.templates(ctx)
	if err != nil {
		return coppice.Capture{}, err
	}
	for _, c := range templates {
		if c.Name == m.templateName(size) {
			m.hold(c.ID)
			return c, nil
		}
	}
	if len(templates) >= maxTemplates {
		oldest := slices.IndexFunc(templates, func(c coppice.Capture) bool { return c.Size != m.Size })
		if err := m.discard(ctx, templates[oldest].ID); err != nil {
			return coppice.Capture{}, err
		}
	}
	return m.makeTemplate(ctx, size)
}

// templateName names a template by all that what starts from it must share
// with it, but for the image.
func (m *Manager) templateName(size coppice.Size) string {
	return fmt.Sprintf("%d vCPUs, %d MiB, disk of %d MiB, %s", size.VCPUs, size.MemoryMiB, size.DiskMiB, m.VMM)
}

// templates lists the templates of the host's image and VMM, oldest first, and
// removes those of others, which it had before.
func (m *Manager) templates(ctx context.Context) ([]coppice.Capture, error) {
	all, err := m.Captures.Captures(ctx, coppice.SystemAccount)
	var templates []coppice.Capture
	for _, c := range all {
		switch {
		case !c.Keep:
		case c.Image == m.Image && strings.HasSuffix(c.Name, m.VMM):
			templates = append(templates, c)
		default:
			m.Log.Info("removing an earlier template", "capture", c.ID, "image", c.Image, "name", c.Name)
			if err := m.discard(ctx, c.ID); err != nil {
				m.Log.Error("cannot remove an earlier template", "capture", c.ID, "error", err)
			}
		}
	}
	return templates, err
}

// makeTemplate boots a VM of the host's own, captures it, and removes it. It
// returns the capture with a hold on it.
func (m *Manager) makeTemplate(ctx context.Context, size coppice.Size) (c coppice.Capture, err error) {
	image, err := m.Pool.Image(ctx, m.Image)
	if err != nil {
		return c, err
	}
	name := m.templateName(size)
	step, _ := Plan(coppice.Absent, coppice.Restore)
	vm, err := m.insert(ctx, coppice.VM{
		ID: coppice.NewVMID(), Account: coppice.SystemAccount, Name: name, State: coppice.Absent, Size: size,
		Persistence: coppice.Persistence{Type: coppice.Ephemeral}, Image: image.ID, CreatedAt: time.Now().UTC(),
	}, step, m.create)
	if err != nil {
		return c, err
	}
	defer func() {
		if _, err := m.Delete(m.base, coppice.SystemAccount, vm.ID); err != nil {
			m.untidy()
		}
	}()
	if c, err = m.captureSettled(ctx, vm.ID, name); err != nil {
		err = m.whyNotUp(ctx, vm.ID, err)
	}
	return c, err
}

// captureSettled captures a template's VM, of that name, when its guest has settled.
func (m *Manager) captureSettled(ctx context.Context, id coppice.VMID, name string) (c coppice.Capture, err error) {
	session, release, err := m.Use(ctx, coppice.SystemAccount, id, "template")
	if err != nil {
		return c, err
	}
	defer release()
	if _, err := session.Exec(ctx, coppice.ExecSpec{Command: settled, Timeout: settleTime}, coppice.Stdio{}); err != nil {
		return c, coppice.Errorf(coppice.CodeUnavailable, "the guest that VMs of that size start from does not answer; try again").Because(err)
	}
	_, c, err = m.cut(ctx, id, coppice.Capture{Account: coppice.SystemAccount, Name: name, Keep: true})
	return c, err
}

// whyNotUp returns err in words for somebody whose own VM does not come up for it,
// and who knows nothing of a template's VM: if that has ended, then how.
func (m *Manager) whyNotUp(ctx context.Context, id coppice.VMID, err error) error {
	code := coppice.CodeOf(err)
	if m.base.Err() != nil || code != coppice.CodeUnavailable && code != coppice.CodeVMNotRunning {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, followTime)
	defer cancel()
	if exit, waitErr := m.Await(ctx, coppice.SystemAccount, id); waitErr == nil {
		return exitError(exit)
	}
	return err
}
