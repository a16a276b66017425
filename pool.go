package coppice

import "context"

// A Pool gives out disks and memory files and clones them by sharing blocks.
// Everything it returns is the name of a file on one file system.
//
// Making and removing are atomic for a crash of the daemon at any moment: a VM's
// or a capture's files are all there under their names, or not at all; what a
// crash leaves under temporary names is removed when the pool is opened. Only
// what was synced outlives a crash of the host.
type Pool interface {
	// Image returns an installed image. [ErrNoImage] if there is none of that id.
	Image(ctx context.Context, id ImageID) (Image, error)
	// Clone makes dst, a file of a capture that has been begun, share the
	// blocks of src, a file of a VM or capture of this pool.
	Clone(ctx context.Context, dst, src string) error

	VMPool
	CapturePool
	DiskMeter
	Inspector
	Eraser // of images and of what is unfinished
}

// A VMPool keeps the files of VMs.
type VMPool interface {
	// CreateVM makes the files of a VM: a disk that shares the blocks of the
	// file disk, or is empty if that is, and is grown to size.DiskMiB, and an
	// empty memory file. Where the VM has files already, these stay the same
	// files, with that content: a process may have been started on them ahead.
	CreateVM(ctx context.Context, id VMID, disk string, size Size) (VMFiles, error)
	// SyncVM makes what CreateVM and ResizeVM did durable: until then the host
	// may forget it when it loses power. The VM may run meanwhile.
	SyncVM(ctx context.Context, id VMID) error
	// VM returns the names of the VM's files, whether or not they exist.
	VM(id VMID) VMFiles
	// ResizeVM gives the files of a VM that does not run a new size. The disk
	// only grows; a smaller DiskMiB leaves it as it is.
	ResizeVM(ctx context.Context, id VMID, size Size) error
	// RemoveVM removes the files of a VM that does not run; nil if there are
	// none. It needs no free space.
	RemoveVM(ctx context.Context, id VMID) error
	// VMs lists the VMs that have files here.
	VMs(ctx context.Context) ([]VMID, error)
}

// A CapturePool keeps the files of captures.
type CapturePool interface {
	// BeginCapture makes an empty directory for a capture and returns the names
	// its files are to have. Until CommitCapture they are temporary.
	BeginCapture(ctx context.Context, id CaptureID) (CaptureFiles, error)
	// CommitCapture gives the files their final names, which it returns.
	CommitCapture(ctx context.Context, id CaptureID) (CaptureFiles, error)
	// SyncCapture makes a committed capture durable: until then the host may
	// forget it, or have it in part, when it loses power.
	SyncCapture(ctx context.Context, id CaptureID) error
	// Capture returns the names of a committed capture's files, whether or not they exist.
	Capture(id CaptureID) CaptureFiles
	// TrimCapture removes what of a committed capture only a restore needs, its
	// devices and its disk, and leaves the memory, which runs map. nil if there is none.
	TrimCapture(ctx context.Context, id CaptureID) error
	// RemoveCapture removes a capture, begun or committed; nil if there is none.
	RemoveCapture(ctx context.Context, id CaptureID) error
	// Captures lists the committed captures.
	Captures(ctx context.Context) ([]CaptureID, error)
}
