package coppice

// A Census is how many VMs a host keeps, and what they take of it.
type Census struct {
	// VMs by what they are and what is being done to them.
	VMs map[Standing]int
	// Spares and Husks are what is ready of what is made ahead.
	Spares, Husks int
	// Memory is that of all processes of VMs. What several of them share counts
	// for each.
	Memory Footprint
	// Disk is what is stored of all VMs and snapshots. What several of them share
	// counts for each. It may be seconds old.
	Disk Footprint
	Capacity
}

// A Standing is where a VM is in its life.
type Standing struct {
	State State
	Verb  Verb
}
