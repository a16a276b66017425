package lifecycle

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coppice-vm/coppice"
)

const (
	// activityInterval is how long traffic is added up before it is compared to
	// a VM's threshold.
	activityInterval = 10 * time.Second
	// defaultActivityBytes is more than a guest that does nothing has in an
	// interval, even if a DHCP lease is renewed (700 bytes), the time asked for
	// (180) and a neighbour looked up (84) all at once.
	defaultActivityBytes = 1024

	reclaimRetry    = time.Minute // after a reclaim that failed
	busyRetry       = time.Second // while something else is being done
	reclaimsAbreast = 4
)

// watchIdleness reclaims VMs that nobody uses, until the daemon leaves.
func (m *Manager) watchIdleness() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-m.base.Done():
			return
		case <-timer.C:
		case <-m.stirred:
		}
		timer.Reset(m.lookAtAll())
	}
}

// lookAtAll looks at every VM that can be idle, and returns when to look again.
func (m *Manager) lookAtAll() time.Duration {
	vms, err := m.Store.VMs(m.base, coppice.VMFilter{})
	if err != nil && m.base.Err() == nil {
		m.Log.Error("cannot see which VMs are idle", "error", err)
	}
	next := activityInterval
	for i := range vms {
		if vms[i].State == coppice.Running && vms[i].IdleTimeout > 0 {
			next = min(next, m.lookAtIdle(&vms[i]))
		}
	}
	return next
}

// lookAtIdle finds out whether a VM is idle, and has it reclaimed if that is for
// too long. It returns when to look again.
func (m *Manager) lookAtIdle(vm *coppice.VM) time.Duration {
	u, runs := m.usageOf(vm.ID)
	if !runs {
		return activityInterval // it is being settled, or not there any more
	}
	if u.idle() >= vm.IdleTimeout || u.untilMetered() <= 0 {
		m.readMeter(vm)
		u, _ = m.usageOf(vm.ID)
	}
	idle := u.idle()
	if idle < u.saved || idle-u.saved >= max(activityInterval, vm.IdleTimeout/4) {
		m.record(m.base, vm.ID)
	}
	left := vm.IdleTimeout - idle
	again := reclaimRetry - time.Since(u.failed)
	switch {
	case left > 0:
		return min(left, max(u.untilMetered(), busyRetry))
	case !u.failed.IsZero() && again > 0:
		return again
	case vm.Verb == coppice.Idle:
		m.beginReclaim(*vm)
	}
	return busyRetry
}

// readMeter notes how much traffic a VM has had: once in an interval, and when it
// would be reclaimed. A VM is active whenever that is enough.
func (m *Manager) readMeter(vm *coppice.VM) {
	traffic, err := m.Network.Traffic(m.base, vm.ID)
	n := traffic.Sent + traffic.Received
	m.mu.Lock()
	defer m.mu.Unlock()
	u := &m.entry(vm.ID).usage
	now := time.Now()
	switch {
	case err != nil:
		m.Log.Debug("cannot read the traffic of a VM", "vm", vm.ID, "error", err)
		n = u.meter // as far as is known
	case u.metered.IsZero() || n < u.meter: // nothing to compare it to
	case n-u.meter >= max(1, vm.ActivityBytes):
		u.active = now
	case now.Sub(u.metered) < activityInterval:
		return
	}
	u.meter, u.metered = n, now
}

// beginReclaim reclaims a VM as soon as it is its turn.
func (m *Manager) beginReclaim(vm coppice.VM) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := &m.entry(vm.ID).usage
	if u.trying {
		return
	}
	u.trying = true
	m.work.Go(func() {
		select {
		case m.reclaims <- struct{}{}:
		case <-m.base.Done():
			return
		}
		err := m.reclaim(vm)
		<-m.reclaims
		m.mu.Lock()
		defer m.mu.Unlock()
		u.trying = false
		if err != nil {
			u.failed = time.Now()
		}
	})
}

// reclaim suspends a VM that is idle, or deletes it if it is ephemeral, unless
// it is not idle any more.
func (m *Manager) reclaim(vm coppice.VM) error {
	r := request{verb: coppice.Suspend, do: m.suspend, after: m.suspended}
	if vm.Persistence.Type == coppice.Ephemeral {
		r = request{verb: coppice.Delete, do: m.delete}
	}
	r.why = "it was idle for " + plain(vm.IdleTimeout)
	r.still = func(e *entry) bool { return e.run != nil && e.usage.users == 0 && e.usage.idle() >= vm.IdleTimeout }
	r.edit = func(row *coppice.VM) error {
		if row.IdleTimeout != vm.IdleTimeout {
			return errMoot
		}
		return nil
	}
	_, err := m.perform(m.base, vm.ID, r)
	switch {
	case errors.Is(err, errMoot), errors.Is(err, errBusy), errors.Is(err, errRefused), m.base.Err() != nil:
		return nil // it is looked at again
	case err != nil:
		return fmt.Errorf("reclaim %s: %w", vm.ID, err)
	}
	m.Log.Info("reclaimed", "vm", vm.ID, "because", r.why, "verb", r.verb)
	return nil
}

// plain writes a duration without parts that are zero.
func plain(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
