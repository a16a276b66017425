package lifecycle

import (
	"context"

	"github.com/coppice-vm/coppice"
)

// Census counts the host's VMs and measures what they take.
func (m *Manager) Census(ctx context.Context) (census coppice.Census, err error) {
	vms, err := m.Store.VMs(ctx, coppice.VMFilter{})
	if err != nil {
		return census, err
	}
	census.VMs = map[coppice.Standing]int{}
	for i := range vms {
		census.VMs[coppice.Standing{State: vms[i].State, Verb: vms[i].Verb}]++
		var memory coppice.Footprint
		if err := found(&memory)(m.Hypervisor.MemoryFootprint(ctx, vms[i].ID)); err != nil {
			return census, err
		}
		census.Memory = census.Memory.Plus(memory)
	}
	census.Spares, census.Husks = m.spares.len(), m.husks.len()
	if census.Disk, err = m.storedInAll(ctx); err != nil {
		return census, err
	}
	census.Capacity, err = m.Gauge.Capacity(ctx)
	return census, err
}
