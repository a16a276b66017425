package mem

import (
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/coppice-vm/coppice"
)

// DiskFootprints implements [coppice.DiskMeter]. What was written to a file at
// a time is one block.
func (p *Pool) DiskFootprints(ctx context.Context, things [][]string) ([]coppice.Footprint, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const nobody = -1
	owners := map[*byte]map[int]bool{} // of a block
	sizes := map[*byte]int64{}
	for dir, in := range p.dirs {
		for name, f := range in {
			if len(f.start) == 0 {
				continue
			}
			block := &f.start[0]
			if owners[block] == nil {
				owners[block] = map[int]bool{}
			}
			sizes[block] = int64(len(f.start))
			found := false
			for i, thing := range things {
				if slices.Contains(thing, path.Join(dir, name)) {
					owners[block][i], found = true, true
				}
			}
			if !found {
				owners[block][nobody] = true
			}
		}
	}
	footprints := make([]coppice.Footprint, len(things))
	for block, of := range owners {
		for i := range of {
			switch {
			case i == nobody:
			case len(of) == 1:
				footprints[i].Own += sizes[block]
			default:
				footprints[i].Shared += sizes[block]
			}
		}
	}
	return footprints, nil
}

// MemoryFootprint implements [coppice.ProcessMeter]. A guest has all its memory
// to itself, and the file it began with in common with others.
func (h *Hypervisor) MemoryFootprint(ctx context.Context, id coppice.VMID) (coppice.Footprint, error) {
	p, err := h.host.process(id)
	if err != nil {
		return coppice.Footprint{}, err
	}
	base, _, err := h.host.files.ReadFile(p.machine.Memory)
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	return coppice.Footprint{Own: int64(len(p.memory)), Shared: int64(len(base))}, err
}

// Work implements [coppice.ProcessMeter]. A guest is never idle.
func (h *Hypervisor) Work(ctx context.Context, id coppice.VMID) (coppice.Work, error) {
	p, err := h.host.process(id)
	if err != nil {
		return coppice.Work{}, err
	}
	return coppice.Work{CPU: time.Since(p.began)}, nil
}

// process returns the process of a VM that is to be measured.
func (h *host) process(id coppice.VMID) (*process, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.processes[id]
	if p == nil {
		return nil, fmt.Errorf("measure %s: %w", id, coppice.ErrNoRun)
	}
	return p, nil
}
