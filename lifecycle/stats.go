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
	mu     sync.Mutex // held while it is made
	at     time.Time
	stored map[coppice.VMID]coppice.Footprint
}

// Stats measures an account's VM. It does not count as a use of it.
func (m *Manager) Stats(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.Stats, error) {
	vm, err := m.present(ctx, account, id)
	if err != nil {
		return coppice.Stats{}, err
	}
	stats := coppice.Stats{At: time.Now(), VM: vm}
	if stats.Disk, err = m.stored(ctx, id); err != nil {
		return stats, err
	}
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
	_, known := m.inventory.stored[id]
	if known && time.Since(m.inventory.at) < inventoryEvery {
		return m.inventory.stored[id], nil
	}
	tree, err := m.tree(ctx, "")
	if err != nil {
		return coppice.Footprint{}, err
	}
	m.inventory.at, m.inventory.stored = time.Now(), map[coppice.VMID]coppice.Footprint{}
	for _, b := range tree {
		if b.VM != nil {
			m.inventory.stored[b.VM.ID] = b.Disk
		}
	}
	return m.inventory.stored[id], nil
}
