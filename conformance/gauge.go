package conformance

import (
	"context"
	"testing"

	"github.com/coppice-vm/coppice"
)

// TestGauge examines a gauge of a host on which there is room.
func TestGauge(t *testing.T, gauge coppice.Gauge) {
	c, err := gauge.Capacity(t.Context())
	must(t, err)
	for what, pair := range map[string][2]int64{
		"memory":  {c.FreeMemoryMiB, c.MemoryMiB},
		"storage": {c.FreeStorageMiB, c.StorageMiB},
	} {
		if free, all := pair[0], pair[1]; free <= 0 || free > all {
			t.Errorf("%d MiB of %d MiB of %s are free", free, all, what)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := gauge.Capacity(ended); err == nil {
		t.Error("a measurement that nobody wants any more works")
	}
}
