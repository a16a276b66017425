package lifecycle_test

import (
	"testing"

	"github.com/coppice-vm/coppice"
)

func TestHost(t *testing.T) {
	h := newHost(t)
	capacity := coppice.Capacity{MemoryMiB: 8192, FreeMemoryMiB: 4096, StorageMiB: 100 << 10, FreeStorageMiB: 60 << 10}
	h.gauge.Set(capacity)
	vm := h.create()
	h.must(h.Stop(t.Context(), alice, h.create().ID))
	got, err := h.Host(t.Context())
	if want := (coppice.Host{Capacity: capacity, Running: 1, RunningMiB: vm.Size.MemoryMiB}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}
