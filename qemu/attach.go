package qemu

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/qemu/cgroup"
)

// Attach implements [coppice.Hypervisor].
func (h *Hypervisor) Attach(ctx context.Context, id coppice.VMID) (coppice.Run, error) {
	dir, err := h.dir(id)
	if err != nil {
		return nil, err
	}
	if r, err := h.claim(id); err != nil {
		return nil, fmt.Errorf("attach to %s: %w", id, err)
	} else if r != nil {
		return r, nil
	}
	r, err := h.attach(ctx, dir)
	h.settle(id, r)
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", id, err)
	}
	return r, nil
}

func (h *Hypervisor) attach(ctx context.Context, dir runDir) (*run, error) {
	procs, err := h.openProcesses(dir)
	if err != nil {
		return nil, err
	}
	if len(procs) == 0 {
		return nil, errors.Join(coppice.ErrNoRun, h.clear(dir))
	}
	for _, extra := range procs[1:] {
		extra.release()
	}
	proc := procs[0]
	record, err := dir.readRecord()
	if err != nil {
		proc.release()
		return nil, err
	}
	m := record.Machine
	if m.Boot == nil && m.State == "" { // it was prepared and never started
		return nil, errors.Join(coppice.ErrNoRun, h.discardHusk(ctx, &husk{proc: proc}, dir))
	}
	// Of version 2 they may have been lost with the daemon's unit.
	if err := cgroup.Set(record.Groups, h.limits(m)); err != nil {
		h.log.Warn("the VM runs on without limits of what it takes of the host", "vm", m.VM, "because", err)
	}
	r, err := h.connect(ctx, m, dir, proc)
	if err != nil {
		proc.release()
		return nil, err
	}
	stalled, err := r.inspect(ctx)
	if err != nil {
		r.detach()
		return nil, err
	}
	if stalled {
		notify(r.stopped)
	}
	return r, nil
}

// Discard implements [coppice.Hypervisor].
func (h *Hypervisor) Discard(ctx context.Context, id coppice.VMID) error {
	dir, err := h.dir(id)
	if err != nil {
		return err
	}
	if r, err := h.claim(id); err != nil {
		return fmt.Errorf("discard %s: %w", id, err)
	} else if r != nil {
		return r.Kill(ctx)
	}
	defer h.settle(id, nil)
	if p := h.takeHusk(id); p != nil {
		if err := h.discardHusk(ctx, p, dir); err != nil {
			return fmt.Errorf("discard %s: %w", id, err)
		}
		return nil
	}
	procs, err := h.openProcesses(dir)
	if err != nil {
		return fmt.Errorf("discard %s: %w", id, err)
	}
	var errs []error
	for _, p := range procs {
		if err := p.kill(ctx); err != nil {
			errs = append(errs, err)
		} else {
			p.ending()
		}
		p.release()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("discard %s: %w", id, err)
	}
	return h.clear(dir)
}

// Runs implements [coppice.Hypervisor].
func (h *Hypervisor) Runs(ctx context.Context) ([]coppice.VMID, error) {
	found, err := h.processes()
	if err != nil {
		return nil, err
	}
	var ids []coppice.VMID
	for name := range found {
		if id := coppice.VMID(name); id.Valid() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}
