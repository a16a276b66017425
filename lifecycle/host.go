package lifecycle

import (
	"context"

	"github.com/coppice-vm/coppice"
)

// Host says what the host has, and what VMs take of it.
func (m *Manager) Host(ctx context.Context) (coppice.Host, error) {
	capacity, err := m.Gauge.Capacity(ctx)
	if err != nil {
		return coppice.Host{}, err
	}
	host := coppice.Host{
		Capacity: capacity, VMM: m.VMM,
		Spares: m.spares.len(), SparesWanted: m.spares.want, Husks: m.husks.len(), HusksWanted: m.husks.want,
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.vms {
		if e.run != nil {
			host.Running++
		}
	}
	host.RunningMiB = m.runningMiB()
	return host, nil
}
