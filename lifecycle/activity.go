package lifecycle

import (
	"context"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
)

// A usage is what this daemon has seen of how a VM is used. Times are by the
// clock that no step of the wall clock moves.
type usage struct {
	users  int           // who work inside the VM now
	active time.Time     // when it was last active; zero if it has not run here
	saved  time.Duration // idleness on record

	meter   int64 // traffic at metered
	metered time.Time
	trying  bool      // it is about to be reclaimed
	failed  time.Time // when that last failed
}

// idle returns for how long the VM has been idle.
func (u *usage) idle() time.Duration {
	if u.users > 0 || u.active.IsZero() {
		return 0
	}
	return time.Since(u.active)
}

// untilMetered returns for how long yet traffic is only added up.
func (u *usage) untilMetered() time.Duration { return activityInterval - time.Since(u.metered) }

// activity returns what is to go on record. Less than a second is no idleness:
// who uses the VM next need not set the record right.
func (u *usage) activity() coppice.Activity {
	idle := u.idle()
	return coppice.Activity{At: time.Now().Add(-idle).UTC().Round(0), Idle: idle.Truncate(time.Second)}
}

// begin starts anew for a run that has been idle for so long.
func (u *usage) begin(idle time.Duration) {
	*u = usage{users: u.users, active: time.Now().Add(-idle), saved: idle}
}

// Touch notes that something moved in or out of a VM just now.
func (m *Manager) Touch(id coppice.VMID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.vms[id]; e != nil && e.run != nil {
		e.usage.active = time.Now()
		if e.usage.saved > 0 {
			m.stir() // the record says otherwise
		}
	}
}

// stir has the VMs' idleness looked at now.
func (m *Manager) stir() {
	select {
	case m.stirred <- struct{}{}:
	default: // it will be
	}
}

// occupy keeps a VM in use until release.
func (m *Manager) occupy(id coppice.VMID) (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(id)
	e.usage.users++
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if e.usage.users--; e.run != nil {
			e.usage.active = time.Now()
		}
		m.forget(id, e)
	})
}

// confirm sees to it that a VM in use is not idle on record, or a daemon that
// comes after a crash would take it for that.
func (m *Manager) confirm(ctx context.Context, id coppice.VMID) {
	m.mu.Lock()
	stale := m.entry(id).usage.saved > 0
	m.mu.Unlock()
	if stale {
		m.record(ctx, id)
	}
}

// record writes down how a VM is used, if it runs here.
func (m *Manager) record(ctx context.Context, id coppice.VMID) {
	m.mu.Lock()
	e := m.entry(id)
	runs, activity := e.run != nil, e.usage.activity()
	m.mu.Unlock()
	if !runs {
		return
	}
	_, err := m.Store.UpdateVM(ctx, id, func(vm *coppice.VM) error {
		vm.Activity = activity
		return nil
	})
	if err != nil {
		if ctx.Err() == nil {
			m.Log.Error("cannot write down how a VM is used", "vm", id, "error", err)
		}
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e.usage.saved = activity.Idle
}

// recordAll writes down how every VM is used, before the daemon leaves.
func (m *Manager) recordAll(ctx context.Context) {
	m.mu.Lock()
	var ids []coppice.VMID
	for id, e := range m.vms {
		if e.run != nil {
			ids = append(ids, id)
		}
	}
	m.mu.Unlock()
	for _, id := range ids {
		m.record(ctx, id)
	}
}

// usageOf returns how a VM is used, and whether it runs here.
func (m *Manager) usageOf(id coppice.VMID) (u usage, runs bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.vms[id]; e != nil {
		return e.usage, e.run != nil
	}
	return usage{}, false
}

// latest replaces what is on record of a VM's activity by what is known now.
func (m *Manager) latest(vm *coppice.VM) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.vms[vm.ID]; e != nil && !e.usage.active.IsZero() {
		vm.Activity = e.usage.activity()
	}
}

// amend does the same to a row that is about to be written.
func (m *Manager) amend(row *coppice.VM) {
	m.latest(row)
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.vms[row.ID]; e != nil {
		e.usage.saved = row.Activity.Idle
	}
}
