package mem

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/coppice-vm/coppice"
)

// DiskFootprints implements [coppice.DiskMeter]. What was written to a file at
// a time is one block.
func (p *Pool) DiskFootprints(ctx context.Context, things [][]string) ([]coppice.Footprint, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// By block, the files that have it.
	files := map[*byte][]string{}
	for dir, in := range p.dirs {
		for name, f := range in {
			if len(f.start) > 0 {
				files[&f.start[0]] = append(files[&f.start[0]], path.Join(dir, name))
			}
		}
	}
	footprints := make([]coppice.Footprint, len(things))
	for _, sharers := range files {
		f, _ := p.get(sharers[0])
		for i, thing := range things {
			others := slices.DeleteFunc(slices.Clone(sharers), func(name string) bool { return slices.Contains(thing, name) })
			switch len(others) {
			case len(sharers):
			case 0:
				footprints[i].Own += int64(len(f.start))
			default:
				footprints[i].Shared += int64(len(f.start))
			}
		}
	}
	return footprints, nil
}

// MemoryFootprint implements [coppice.MemoryMeter]. A guest has all its memory
// to itself, and the file it began with in common with others.
func (h *Hypervisor) MemoryFootprint(ctx context.Context, id coppice.VMID) (coppice.Footprint, error) {
	h.host.mu.Lock()
	p := h.host.processes[id]
	h.host.mu.Unlock()
	if p == nil {
		return coppice.Footprint{}, fmt.Errorf("measure %s: %w", id, coppice.ErrNoRun)
	}
	base, _, err := h.host.files.ReadFile(p.machine.Memory)
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	return coppice.Footprint{Own: int64(len(p.memory)), Shared: int64(len(base))}, err
}
