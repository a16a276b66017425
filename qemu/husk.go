package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/qemu/jail"
	"github.com/coppice-vm/coppice/qemu/ptrace"
	"github.com/coppice-vm/coppice/qemu/qmp"
)

// A husk is a QEMU that waits to be told what to continue. It has touched none
// of its memory, which is a mapping of a file of zeroes until then.
type husk struct {
	machine  coppice.Machine
	proc     *process
	ram      span
	remapper *ptrace.Remapper
}

// Prepare implements [coppice.Hypervisor]. It fails where the host does not
// allow processes to be traced, without which a husk could not be filled.
func (h *Hypervisor) Prepare(ctx context.Context, m coppice.Machine) error {
	m.Instance, m.Boot, m.State = "", nil, ""
	dir, err := h.dir(m.VM)
	if err != nil {
		return err
	}
	if r, err := h.claim(m.VM); err != nil {
		return fmt.Errorf("prepare %s: %w", m.VM, err)
	} else if r != nil {
		return fmt.Errorf("prepare %s: a process of the VM %w", m.VM, coppice.ErrExists)
	}
	defer h.settle(m.VM, nil)
	prepared, err := h.prepare(ctx, m, dir)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", m.VM, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.husks[m.VM] = prepared
	return nil
}

// prepare starts a husk, and returns when it has come up. If it fails, nothing
// is left of it.
func (h *Hypervisor) prepare(ctx context.Context, m coppice.Machine, dir runDir) (*husk, error) {
	if err := h.vacant(dir); err != nil {
		return nil, err
	}
	proc, err := h.launch(ctx, m, dir)
	if err != nil {
		return nil, errors.Join(err, h.clear(dir))
	}
	prepared := &husk{machine: m, proc: proc}
	if err := errors.Join(awaitQMP(ctx, dir), prepared.survey()); err != nil {
		err = explain(ctx, err, dir, proc)
		proc.release()
		return nil, errors.Join(err, h.clear(dir))
	}
	return prepared, nil
}

// awaitQMP waits until QEMU takes commands.
func awaitQMP(ctx context.Context, dir runDir) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	client, err := qmp.Dial(ctx, dir.qmp(), func(qmp.Event) {})
	if err == nil {
		client.Close()
	}
	return err
}

// survey finds out what filling the husk will take, once it takes commands.
func (p *husk) survey() error {
	base, err := jail.Stat(p.proc.pid, p.machine.Memory)
	if err != nil {
		return err
	}
	if p.ram, err = guestRAM(p.proc.pid, base); err != nil {
		return err
	}
	p.remapper, err = ptrace.NewRemapper(p.proc.pid)
	return err
}

// takeHusk returns the VM's husk, which is the caller's from then on; nil if
// there is none.
func (h *Hypervisor) takeHusk(id coppice.VMID) *husk {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.husks[id]
	delete(h.husks, id)
	return p
}

// startPrepared begins a run of m in its husk. It returns nil if there is none
// that is of use; then nothing is left of it.
func (h *Hypervisor) startPrepared(ctx context.Context, m coppice.Machine, dir runDir) (*run, error) {
	p := h.takeHusk(m.VM)
	if p == nil {
		return nil, nil
	}
	networked, err := h.networked(m)
	if err != nil || !p.fits(m) || networked != (h.tap != nil) {
		return nil, errors.Join(err, h.discardHusk(ctx, p, dir))
	}
	if err := checkMemory(m); err != nil {
		return nil, errors.Join(err, h.discardHusk(ctx, p, dir))
	}
	r, err := h.fill(ctx, m, dir, p)
	if err != nil && ctx.Err() == nil {
		h.log.Warn("a process that was started ahead is of no use", "vm", m.VM, "err", err)
		return nil, nil
	}
	return r, err
}

// fill begins a run of m in a husk that fits it, or leaves nothing of that.
func (h *Hypervisor) fill(ctx context.Context, m coppice.Machine, dir runDir, p *husk) (*run, error) {
	if err := dir.beginConsole(m); err != nil {
		return nil, errors.Join(err, h.discardHusk(ctx, p, dir))
	}
	return h.enliven(ctx, m, dir, p.proc, p.begin)
}

// fits reports whether the husk is of the machine's hardware. The disk may have
// another size by now: QEMU looks when it is given the state.
func (p *husk) fits(m coppice.Machine) bool {
	return m.State != "" && m.Disk == p.machine.Disk &&
		m.Size.VCPUs == p.machine.Size.VCPUs && m.Size.MemoryMiB == p.machine.Size.MemoryMiB
}

// begin gives the husk the memory and the devices of r's machine, lets the guest
// go, and returns when it executes.
func (p *husk) begin(ctx context.Context, r *run) error {
	if err := r.dir.amendRecord(r.machine); err != nil {
		return err
	}
	if err := amended.Hit(ctx); err != nil {
		return err
	}
	memory, err := os.Open(r.machine.Memory)
	if err != nil {
		return err
	}
	defer memory.Close()
	lent, err := r.lend(ctx, memory)
	if err != nil {
		return err
	}
	if err := p.remapper.Map(ptrace.Area{Start: p.ram.start, End: p.ram.end}, lent.FD); err != nil {
		return err
	}
	if err := mapped.Hit(ctx); err != nil {
		return err
	}
	if err := p.load(ctx, r); err != nil {
		return err
	}
	if err := loaded.Hit(ctx); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	// Earlier QEMU would not have closed it: it does only while a guest runs.
	return r.takeBack(ctx, lent)
}

// load has QEMU begin to load the devices.
func (p *husk) load(ctx context.Context, r *run) error {
	state, err := os.Open(r.machine.State)
	if err != nil {
		return err
	}
	defer state.Close()
	const name = "state"
	if err := r.doFile(ctx, "getfd", map[string]any{"fdname": name}, state, nil); err != nil {
		return err
	}
	return r.do(ctx, "migrate-incoming", map[string]any{"uri": "fd:" + name}, nil)
}

// discardHusk ends a husk and leaves nothing of it.
func (h *Hypervisor) discardHusk(ctx context.Context, p *husk, dir runDir) error {
	defer p.proc.release()
	if err := p.proc.kill(ctx); err != nil {
		return err
	}
	p.proc.ending() // or it stays a zombie
	return h.clear(dir)
}
