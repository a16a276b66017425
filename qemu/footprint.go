package qemu

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/coppice-vm/coppice"
)

// MemoryFootprint implements [coppice.MemoryMeter].
func (h *Hypervisor) MemoryFootprint(ctx context.Context, id coppice.VMID) (coppice.Footprint, error) {
	h.mu.Lock()
	r := h.runs[id]
	h.mu.Unlock()
	if r == nil || r.proc.isGone() {
		return coppice.Footprint{}, fmt.Errorf("measure %s: %w", id, coppice.ErrNoRun)
	}
	f, err := memoryOf(r.proc.pid)
	if err != nil && r.proc.isGone() {
		err = coppice.ErrNoRun
	}
	if err != nil {
		return coppice.Footprint{}, fmt.Errorf("measure %s: %w", id, err)
	}
	return f, nil
}

// memoryOf adds up a process's pages. Those that are of no file are its own,
// also where they are swapped out.
func memoryOf(pid int) (coppice.Footprint, error) {
	name := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	b, err := os.ReadFile(name)
	if err != nil {
		return coppice.Footprint{}, err
	}
	kib := map[string]int64{}
	for line := range bytes.Lines(b) {
		var field string
		var n int64
		if _, err := fmt.Sscanf(string(line), "%s %d kB", &field, &n); err == nil {
			kib[field] = n
		}
	}
	resident, anonymous := kib["Rss:"], kib["Anonymous:"]
	if resident == 0 {
		return coppice.Footprint{}, fmt.Errorf("%s says nothing", name)
	}
	return coppice.Footprint{Own: (anonymous + kib["Swap:"]) << 10, Shared: (resident - anonymous) << 10}, nil
}
