package lifecycle

import (
	"context"
	"time"

	"github.com/coppice-vm/coppice"
)

// An Observer is told what a manager does, for somebody who counts. Its methods
// are called by many at once, and return at once.
type Observer interface {
	// Did says how a verb has gone, or a phase of one, if that is not empty, and
	// how long it took.
	Did(verb coppice.Verb, phase string, took time.Duration, err error)
	// Woke says that a suspended VM runs again, and what for: as with
	// [Manager.Use], or "start" if somebody asked for just that.
	Woke(by string)
	// Evicted says that a VM was deleted for want of storage.
	Evicted()
}

// nobody observes nothing.
type nobody struct{}

func (nobody) Did(coppice.Verb, string, time.Duration, error) {}
func (nobody) Woke(string)                                    {}
func (nobody) Evicted()                                       {}

// phase begins a phase of the verb that is being done to a VM; what it returns ends it.
func (m *Manager) phase(vm *coppice.VM, name string) func(error) {
	began := time.Now()
	return func(err error) { m.Observer.Did(vm.Verb, name, time.Since(began), err) }
}

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
