package coppice

// An Image is what a VM boots from: a Debian root disk with the kernel and the
// initrd that fit it. The files belong to the pool and never change.
type Image struct {
	ID      ImageID
	Disk    string // raw file with an ext4 file system, no partition table
	DiskMiB int64  // a VM's disk is at least this large
	Kernel  string // uncompressed vmlinux, entered through PVH
	Initrd  string // drivers and the guest agent
	Cmdline string // of the kernel
}

// CaptureFiles are the parts of a capture, as names of files on the host.
type CaptureFiles struct {
	Memory string // RAM, a flat file of the VM's memory size
	State  string // devices, in QEMU's migration format
	Disk   string // raw
}

// VMFiles are the files a VM owns, as names of files on the host.
type VMFiles struct {
	Disk string // raw
	// Memory is an empty sparse file as large as the VM's memory: what a run
	// that boots maps privately.
	Memory string
}
