package lifecycle

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/coppice-vm/coppice"
)

// followTime is how long the end of a process may take to become known.
const followTime = time.Second

// Audit compares what the store says with what the host has. What is being done
// meanwhile, and what is made ahead, is no discrepancy. If repair is set, it
// mends what can be mended without harm, and says what of that it has.
func (m *Manager) Audit(ctx context.Context, repair bool) ([]coppice.Discrepancy, error) {
	m.auditing.Lock() // one does not take the other's turns for work
	defer m.auditing.Unlock()
	suspects, err := m.suspects(ctx, nil)
	if err != nil || len(suspects) == 0 {
		return nil, err
	}
	// Nothing is done to what is looked at twice.
	turns, release := m.takeTurns(suspects)
	defer release()
	if repair && slices.ContainsFunc(suspects, func(d coppice.Discrepancy) bool { return d.VM != "" && !turns[d.VM] }) {
		m.untidy() // somebody is at it, and may leave it as it is
	}
	again, err := m.suspects(ctx, turns)
	found := slices.DeleteFunc(again, func(d coppice.Discrepancy) bool {
		return !slices.Contains(suspects, d) || d.VM != "" && !turns[d.VM] || m.hasEnded(ctx, &d)
	})
	if err != nil || !repair {
		return found, err
	}
	for i, d := range found {
		if d.Repairable {
			m.Log.Warn("repairing", "what", d.Kind, "name", d.Name, "vm", d.VM, "capture", d.Capture, "because", d.Text)
			found[i].Err = m.mend(ctx, &d)
		}
	}
	left, err := m.suspects(ctx, turns)
	for i := range found {
		d := &found[i]
		d.Repaired = d.Repairable && d.Err == nil && !slices.ContainsFunc(left, func(l coppice.Discrepancy) bool { return l.Trace == d.Trace && l.Missing == d.Missing })
	}
	return found, err
}

// suspects returns the discrepancies of one look at everything, without what
// this daemon is at. It is not at VMs whose turns the caller has taken.
func (m *Manager) suspects(ctx context.Context, turns map[coppice.VMID]bool) ([]coppice.Discrepancy, error) {
	before := m.accounted(turns)
	s, err := m.survey(ctx)
	if err != nil {
		return nil, err
	}
	after := m.accounted(turns)
	return slices.DeleteFunc(s.compare(), func(d coppice.Discrepancy) bool { return before(&d) || after(&d) }), nil
}

// accounted returns what says whether a discrepancy is of something that this
// daemon is at now.
func (m *Manager) accounted(turns map[coppice.VMID]bool) func(*coppice.Discrepancy) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	vms, captures := map[coppice.VMID]bool{}, map[coppice.CaptureID]bool{}
	for id, e := range m.vms {
		if e.flight != nil && !turns[id] {
			vms[id] = true
		}
	}
	for id := range m.rowless {
		vms[id] = true
	}
	for id := range m.held {
		captures[id] = true
	}
	for id := range m.dropping {
		captures[id] = true
	}
	return func(d *coppice.Discrepancy) bool { return vms[d.VM] || captures[d.Capture] }
}

// takeTurns keeps everything else from being done to the VMs that discrepancies
// are about, until release. Those that something is being done to are left out.
func (m *Manager) takeTurns(suspects []coppice.Discrepancy) (turns map[coppice.VMID]bool, release func()) {
	done := make(chan struct{})
	turns = map[coppice.VMID]bool{}
	var flights []*flight
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range suspects {
		if d.VM == "" || turns[d.VM] || m.base.Err() != nil {
			continue
		}
		if e := m.entry(d.VM); e.flight == nil {
			turns[d.VM] = true
			flights = append(flights, m.launchFlight(m.base, d.VM, e, coppice.Idle, func(context.Context) (coppice.VM, error) {
				<-done
				return coppice.VM{}, nil
			}))
		}
	}
	return turns, func() {
		close(done)
		for _, f := range flights {
			<-f.done
		}
	}
}

// hasEnded reports whether a VM lacks its process because the run has ended just
// now: what follows from that waits for the VM's turn.
func (m *Manager) hasEnded(ctx context.Context, d *coppice.Discrepancy) bool {
	if d.Kind != coppice.TraceProcess || !d.Missing {
		return false
	}
	run := m.runOf(d.VM)
	if run == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, followTime)
	defer cancel()
	_, err := run.Wait(ctx)
	return err == nil
}

// mend repairs a discrepancy. The caller has the turn of the VM that it is about.
func (m *Manager) mend(ctx context.Context, d *coppice.Discrepancy) error {
	switch {
	case d.Kind == coppice.TraceUnfinished || d.Kind == coppice.TraceImage || d.Kind == coppice.TraceStray && d.Disposable:
		return m.erase(ctx, d.Trace)
	case d.Capture != "" && d.Missing:
		return m.discard(ctx, d.Capture) // a template, which is made anew
	case d.Capture != "":
		return m.release(ctx, d.Capture)
	}
	vm, err := m.Store.VM(ctx, d.VM)
	switch {
	case errors.Is(err, coppice.ErrNoVM), err == nil && vm.Deleted():
		return m.remove(ctx, d.VM)
	case err != nil:
		return err
	}
	return m.end(ctx, d.VM)
}

// erase has a trace removed by whoever of the host's has it.
func (m *Manager) erase(ctx context.Context, t coppice.Trace) error {
	for _, place := range m.places() {
		eraser, ok := place.(coppice.Eraser)
		if !ok {
			continue
		}
		traces, err := place.Traces(ctx)
		if err != nil {
			return err
		}
		if slices.Contains(traces, t) {
			return eraser.Erase(ctx, t)
		}
	}
	return nil // it has gone
}

// setRowless says whether a VM without a row is accounted for.
func (m *Manager) setRowless(id coppice.VMID, accounted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if accounted {
		m.rowless[id] = true
	} else {
		delete(m.rowless, id)
	}
}
