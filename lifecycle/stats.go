package lifecycle

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
)

// inventoryEvery is how often at most the whole pool is looked at.
const inventoryEvery = 10 * time.Second

// An inventory is what was stored of the host's VMs at a time.
type inventory struct {
	mu  sync.Mutex // held while it is made
	at  time.Time  // zero if there was none
	all coppice.Footprint
	vms map[coppice.VMID]coppice.Footprint
}

// Stats measures an account's VM. It does not count as a use of it.
func (m *Manager) Stats(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.Stats, error) {
	vm, err := m.present(ctx, account, id)
	if err != nil {
		return coppice.Stats{}, err
	}
	disk, err := m.stored(ctx, id)
	if err != nil {
		return coppice.Stats{}, err
	}
	stats := coppice.Stats{At: time.Now(), VM: vm, Disk: disk} // the time of what is counted from now on
	err = errors.Join(
		found(&stats.Work)(m.Hypervisor.Work(ctx, id)),
		found(&stats.Memory)(m.Hypervisor.MemoryFootprint(ctx, id)),
		found(&stats.Traffic)(m.Network.Traffic(ctx, id)),
	)
	return stats, err
}

// found puts a measurement where it belongs, if there was something to measure.
func found[T any](to *T) func(T, error) error {
	return func(v T, err error) error {
		switch {
		case err == nil:
			*to = v
		case errors.Is(err, coppice.ErrNoRun), errors.Is(err, coppice.ErrNoNetwork):
			err = nil
		}
		return err
	}
}

// stored returns what is stored of a VM, as it was not long ago.
func (m *Manager) stored(ctx context.Context, id coppice.VMID) (coppice.Footprint, error) {
	m.inventory.mu.Lock()
	defer m.inventory.mu.Unlock()
	_, known := m.inventory.vms[id]
	err := m.lookOver(ctx, !known)
	return m.inventory.vms[id], err
}

// storedInAll returns what is stored of all VMs and snapshots, as it was not long ago.
func (m *Manager) storedInAll(ctx context.Context) (coppice.Footprint, error) {
	m.inventory.mu.Lock()
	defer m.inventory.mu.Unlock()
	err := m.lookOver(ctx, false)
	return m.inventory.all, err
}

// lookOver makes the inventory anew if it is old, or anyway. The caller holds its lock.
func (m *Manager) lookOver(ctx context.Context, anyway bool) error {
	if !anyway && !m.inventory.at.IsZero() && time.Since(m.inventory.at) < inventoryEvery {
		return nil
	}
	tree, err := m.tree(ctx, "")
	if err != nil {
		return err
	}
	m.inventory.at, m.inventory.all, m.inventory.vms = time.Now(), coppice.Footprint{}, map[coppice.VMID]coppice.Footprint{}
	for _, b := range tree {
		m.inventory.all = m.inventory.all.Plus(b.Disk)
		if b.VM != nil {
			m.inventory.vms[b.VM.ID] = b.Disk
		}
	}
	return nil
}
