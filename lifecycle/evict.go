package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coppice-vm/coppice"
)

// An Eviction says when VMs that do not run make room for those that do.
type Eviction struct {
	// BelowMiB is how little storage is left when it begins; 0 is never.
	BelowMiB int64
	// UntilMiB is how much is to be left when it ends.
	UntilMiB int64
}

// A victim is a VM that may be evicted, and the bytes that would give back.
type victim struct {
	coppice.VM
	gain int64
}

// watchStorage evicts VMs whenever storage is short, until the daemon leaves.
func (m *Manager) watchStorage() {
	timer := time.NewTicker(m.Pace.Evict)
	defer timer.Stop()
	for {
		if err := m.relieve(m.base); err != nil && m.base.Err() == nil {
			m.Log.Error("storage is short, or it cannot be seen whether it is", "error", err)
		}
		select {
		case <-timer.C:
		case <-m.pressed:
		case <-m.base.Done():
			return
		}
	}
}

// press has the pool looked at now.
func (m *Manager) press() {
	select {
	case m.pressed <- struct{}{}:
	default: // it will be
	}
}

// relieve evicts VMs if storage is short, until it is not or no VM is left that
// may be evicted.
func (m *Manager) relieve(ctx context.Context) error {
	c, err := m.Gauge.Capacity(ctx)
	if err != nil || c.FreeStorageMiB >= m.Eviction.BelowMiB {
		return err
	}
	victims, err := m.victims(ctx)
	if err != nil {
		return err
	}
	// What is removed the file system gives back in its own time: it gets that
	// before another VM goes, and what that will be counts already.
	shows := c.FreeStorageMiB
	free := shows << 20
	for _, v := range victims {
		if free >= m.Eviction.UntilMiB<<20 {
			break
		}
		if err := m.evict(ctx, v, shows); errors.Is(err, errMoot) {
			continue
		} else if err != nil {
			return err
		}
		free += v.gain
		if shows, err = m.freed(ctx, m.Eviction.UntilMiB); err != nil {
			return err
		}
		free = max(free, shows<<20)
	}
	return nil
}

// victims returns the VMs that may be evicted, those first that are to go first.
func (m *Manager) victims(ctx context.Context) ([]victim, error) {
	vms, err := m.Store.VMs(ctx, coppice.VMFilter{})
	if err != nil {
		return nil, err
	}
	vms = slices.DeleteFunc(vms, func(vm coppice.VM) bool { return !evictable(&vm) })
	slices.SortFunc(vms, func(a, b coppice.VM) int {
		return cmp.Or(cmp.Compare(a.Persistence.Priority, b.Persistence.Priority), lastUsed(&a).Compare(lastUsed(&b)))
	})
	things := make([][]string, len(vms))
	for i := range vms {
		things[i] = append(m.storedOf(vms[i].Base), m.Pool.VM(vms[i].ID).Disk)
	}
	footprints, err := m.Pool.DiskFootprints(ctx, things)
	if err != nil {
		return nil, err
	}
	var victims []victim
	for i := range vms {
		if footprints[i].Own > 0 { // or it would go for nothing
			victims = append(victims, victim{vms[i], footprints[i].Own})
		}
	}
	return victims, nil
}

// evictable reports whether a VM may be deleted for want of storage.
func evictable(vm *coppice.VM) bool {
	return vm.Persistence.Type == coppice.Sticky && (vm.State == coppice.Stopped || vm.State == coppice.Suspended)
}

// lastUsed returns when a VM was last active, or made if it never was.
func lastUsed(vm *coppice.VM) time.Time {
	if vm.Activity.At.After(vm.CreatedAt) {
		return vm.Activity.At
	}
	return vm.CreatedAt
}

// evict deletes a VM. The error is errMoot if it may not be evicted any more, or
// somebody is at it.
func (m *Manager) evict(ctx context.Context, v victim, freeMiB int64) error {
	_, err := m.perform(ctx, v.ID, request{
		verb:  coppice.Delete,
		why:   fmt.Sprintf("it was evicted: the host's storage pool had %d MiB left", freeMiB),
		do:    m.delete,
		still: func(e *entry) bool { return e.run == nil && e.usage.users == 0 },
		edit: func(row *coppice.VM) error {
			if !evictable(row) {
				return errMoot
			}
			return nil
		},
	})
	switch {
	case errors.Is(err, errMoot), errors.Is(err, errBusy), errors.Is(err, errRefused):
		return errMoot
	case err != nil:
		return fmt.Errorf("evict %s: %w", v.ID, err)
	}
	m.evicted++
	m.Observer.Evicted()
	m.Log.Warn("evicted a VM for want of storage", "vm", v.ID, "account", v.Account, "priority", v.Persistence.Priority,
		"lastUsed", lastUsed(&v.VM), "givesBackMiB", v.gain>>20, "freeMiB", freeMiB, "evictionsSoFar", m.evicted)
	return nil
}
