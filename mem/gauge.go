package mem

import (
	"context"
	"sync"

	"github.com/coppice-vm/coppice"
)

// A Gauge is a [coppice.Gauge] that shows what it was set to.
type Gauge struct {
	mu    sync.Mutex
	shows coppice.Capacity
}

// NewGauge returns a gauge of a host that is large and empty.
func NewGauge() *Gauge {
	const plenty = 1 << 30 // MiB
	return &Gauge{shows: coppice.Capacity{
		MemoryMiB: plenty, FreeMemoryMiB: plenty, StorageMiB: plenty, FreeStorageMiB: plenty,
	}}
}

// Capacity implements [coppice.Gauge].
func (g *Gauge) Capacity(ctx context.Context) (coppice.Capacity, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shows, ctx.Err()
}

// Set makes the gauge show something else.
func (g *Gauge) Set(c coppice.Capacity) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shows = c
}
