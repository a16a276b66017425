package coppice

import "context"

// A Footprint is what something takes of the host, in bytes.
type Footprint struct {
	Own    int64 // what nothing else has: what would be free without it
	Shared int64 // what it has in common with others
}

// Plus adds up footprints. What both share counts twice.
func (f Footprint) Plus(g Footprint) Footprint {
	return Footprint{Own: f.Own + g.Own, Shared: f.Shared + g.Shared}
}

// A DiskMeter measures files of a pool by the blocks they share.
type DiskMeter interface {
	// DiskFootprints measures things that are made of files. A block is shared
	// if it is of another thing too, or of any other file in the pool. Things
	// may have files in common. A file that is not there takes nothing.
	DiskFootprints(ctx context.Context, things [][]string) ([]Footprint, error)
}

// A ProcessMeter measures processes.
type ProcessMeter interface {
	// MemoryFootprint measures the process of a VM. Shared is what it maps of
	// files, from which others are served as well: what guests have of their
	// base and not changed, the VMM's own program. [ErrNoRun] if there is none.
	MemoryFootprint(ctx context.Context, id VMID) (Footprint, error)
	// Work says what the process of a VM has done since it began, which only
	// grows. [ErrNoRun] if there is none.
	Work(ctx context.Context, id VMID) (Work, error)
}

// A Branch is a VM or a snapshot, and what it takes of the host.
type Branch struct {
	VM       *VM      // nil for a snapshot
	Snapshot *Capture // nil for a VM
	// Memory is that of a VM's process; nil if there is none.
	Memory *Footprint
	// Disk is what is stored of it: of a VM its disk, and the capture it needs.
	Disk Footprint
}
