package coppice

import "time"

// Work is what a process has done since it began.
type Work struct {
	// CPU is processor time, the guest's and the VMM's.
	CPU time.Duration
	// Bytes that storage was read or written for it: by the guest, and memory
	// that was read from its file as it was touched.
	Read, Written int64
}

// Stats are what a VM takes of the host at a moment. Work, Memory and Traffic
// are of the process of its current run, and zero if there is none.
type Stats struct {
	At      time.Time
	VM      VM
	Work    Work
	Memory  Footprint
	Traffic Traffic
	// Disk is what is stored of it, as in a [Branch]. It may be seconds old.
	Disk Footprint
}
