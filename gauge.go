package coppice

import "context"

// A Gauge says how much of the host is left.
type Gauge interface {
	// Capacity measures the host as it is now.
	Capacity(ctx context.Context) (Capacity, error)
}

// Capacity is what a host has, and what of it can still be given out.
type Capacity struct {
	MemoryMiB int64
	// FreeMemoryMiB can be taken before anything that is in use has to make room.
	FreeMemoryMiB int64
	StorageMiB    int64 // of the pool
	// FreeStorageMiB can still be written there.
	FreeStorageMiB int64
}

// A Host is what a host has, and what VMs, of all accounts, take of it.
type Host struct {
	Capacity
	VMM string // what runs the VMs: its kind and version
	// Running VMs, and the memory that their guests have in sum.
	Running    int
	RunningMiB int64
	// Spares and Husks are VMs and processes made ahead, and how many there are to be.
	Spares, Husks             int
	SparesWanted, HusksWanted int
}
