package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coppice-vm/coppice"
)

// A census is a [prometheus.Collector] of what there is at a time.
type census func(context.Context) (coppice.Census, error)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("coppice_"+name, help, labels, nil)
}

var (
	descVMs        = describe("vms", "VMs, by state, and by what is being done to them; none is nothing.", "state", "verb")
	descReady      = describe("ready", "What is made ahead and not taken yet: spares for creates, husks for forks.", "kind")
	descMemory     = describe("vm_memory_bytes", "Memory of the processes of VMs: their own, and what they share, which counts for each.", "kind")
	descStored     = describe("stored_bytes", "What is stored of VMs and snapshots: their own, and what they share, which counts for each.", "kind")
	descPool       = describe("pool_bytes", "Size of the storage pool.")
	descPoolFree   = describe("pool_free_bytes", "What can still be written to the storage pool.")
	descMemoryHost = describe("host_memory_bytes", "Memory of the host.")
	descMemoryFree = describe("host_memory_free_bytes", "Memory of the host that can be taken before anything has to make room.")
)

// Describe implements [prometheus.Collector].
func (c census) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descVMs, descReady, descMemory, descStored, descPool, descPoolFree, descMemoryHost, descMemoryFree} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (c census) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), censusTime)
	defer cancel()
	now, err := c(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(descVMs, err)
		return
	}
	gauge := func(d *prometheus.Desc, value int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	for _, state := range coppice.States { // also those of which there is none
		if s := (coppice.Standing{State: state}); now.VMs[s] == 0 && state != coppice.Absent {
			gauge(descVMs, 0, string(state), "none")
		}
	}
	for s, n := range now.VMs {
		verb := string(s.Verb)
		if s.Verb == coppice.Idle {
			verb = "none"
		}
		gauge(descVMs, int64(n), string(s.State), verb)
	}
	gauge(descReady, int64(now.Spares), "spare")
	gauge(descReady, int64(now.Husks), "husk")
	gauge(descMemory, now.Memory.Own, "own")
	gauge(descMemory, now.Memory.Shared, "shared")
	gauge(descStored, now.Disk.Own, "own")
	gauge(descStored, now.Disk.Shared, "shared")
	gauge(descPool, now.StorageMiB<<20)
	gauge(descPoolFree, now.FreeStorageMiB<<20)
	gauge(descMemoryHost, now.MemoryMiB<<20)
	gauge(descMemoryFree, now.FreeMemoryMiB<<20)
}
