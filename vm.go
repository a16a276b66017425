package coppice

import "time"

// A State is what is true of a VM when nobody is acting on it.
type State string

const (
	// Absent is the state of a VM that is not there yet or not there any more.
	Absent State = "absent"
	// Running means that a VMM process executes the guest.
	Running State = "running"
	// Suspended means that memory, devices and disk are kept and no process runs.
	Suspended State = "suspended"
	// Stopped means that the disk is kept and nothing else.
	Stopped State = "stopped"
	// Failed means that the run was lost: [VM.Reason] says how. The disk is
	// kept; kill and delete lead out.
	Failed State = "failed"
)

// States lists every state.
var States = []State{Absent, Running, Suspended, Stopped, Failed}

// A Verb is what is being done to a VM, and empty when nothing is. A VM has at
// most one at a time.
type Verb string

const (
	Idle    Verb = ""
	Restore Verb = "restore" // make a new VM run: create, fork child
	Start   Verb = "start"   // boot a stopped VM
	Resume  Verb = "resume"  // continue a suspended VM where it was
	Suspend Verb = "suspend" // capture, then end the process
	Cut     Verb = "capture" // freeze an image of the VM, which goes on as before
	Stop    Verb = "stop"    // shut down: ask the guest, then insist
	Kill    Verb = "kill"    // end the process at once
	Reboot  Verb = "reboot"  // follow a reset the guest asked for with a new run
	Resize  Verb = "resize"  // change CPUs, memory or disk
	Delete  Verb = "delete"  // remove every trace but the tombstone
)

// Verbs lists every verb but [Idle].
var Verbs = []Verb{Restore, Start, Resume, Suspend, Cut, Stop, Kill, Reboot, Resize, Delete}

// A Size is what a VM has of the host.
type Size struct {
	VCPUs     int   // a power of two
	MemoryMiB int64 // a power of two
	DiskMiB   int64 // of the root disk; sparse, so that only what is written costs
}

// Persistence says what may happen to a VM that nobody uses.
type Persistence struct {
	Type PersistenceType
	// Priority of a sticky VM, 0 to 10: higher is evicted later.
	Priority int
	// DeleteEvent of an ephemeral VM: the event that deletes it.
	DeleteEvent DeleteEvent
}

// PersistenceType is the kind of a [Persistence].
type PersistenceType string

const (
	// Sticky VMs stay, but a stopped or suspended one may be evicted when storage is short.
	Sticky PersistenceType = "sticky"
	// Persistent VMs are never evicted.
	Persistent PersistenceType = "persistent"
	// Ephemeral VMs are deleted at their delete event.
	Ephemeral PersistenceType = "ephemeral"
)

// DeleteEvent is the event that deletes an ephemeral VM.
type DeleteEvent string

const (
	// OnStop deletes the VM when it stops.
	OnStop DeleteEvent = "OnStop"
	// OnSuspend deletes the VM when it would be suspended.
	OnSuspend DeleteEvent = "OnSuspend"
)

// A VM is the durable record of a virtual machine.
type VM struct {
	ID      VMID
	Account AccountID
	Name    string // may be empty, need not be unique

	State State
	Verb  Verb
	// VerbSince is when Verb was taken.
	VerbSince time.Time
	// Reason says in a sentence why the VM is in State, when that was not
	// asked for: "the guest powered itself off". Empty otherwise.
	Reason string

	Size Size
	// Target is the size that a resize in flight leads to; zero otherwise.
	Target      Size
	Persistence Persistence
	// IdleTimeout after which the VM is reclaimed; 0 means never.
	IdleTimeout time.Duration
	// ActivityBytes is how much traffic in an interval is activity: less is
	// housekeeping. 0 counts every byte.
	ActivityBytes int64
	Activity      Activity

	// Egress is what the VM may reach; empty is the host's default, whatever
	// that is at the time.
	Egress Egress
	// Private says that what the VM serves on the web is for those only who may
	// use the VM.
	Private bool

	// Image is what the VM boots from: its kernel and drivers.
	Image ImageID
	// Base is the capture whose memory the VM's own is a private copy of, or,
	// when the VM is suspended, the one it resumes from. Empty after a boot.
	Base CaptureID
	// Snapshot the VM was created from, if any.
	Snapshot CaptureID
	// Parent the VM was forked from, if any.
	Parent VMID

	// Instance is the current run, or the last one; empty if there was none.
	Instance InstanceID
	// HostBoot identifies the boot of the host that Instance began in: a run
	// does not outlive it.
	HostBoot string

	CreatedAt time.Time
	// StartedAt is when Instance began; zero if there was none.
	StartedAt time.Time
	// DeletedAt is when the VM was deleted. A deleted VM is a tombstone: the
	// row stays, so that its id is known and never given out again.
	DeletedAt time.Time
}

// An Activity says how a VM was used lately.
type Activity struct {
	// At is when it was last active, as far as is known.
	At time.Time
	// Idle is how long it was seen to run idle since. Time in which nobody
	// looked does not count.
	Idle time.Duration
}

// Deleted reports whether the row is a tombstone.
func (vm *VM) Deleted() bool { return !vm.DeletedAt.IsZero() }

// A NewVM says what a VM to be created is like. Zero members mean the host's default.
type NewVM struct {
	Account     AccountID
	Name        string
	Size        Size
	Persistence Persistence
	// IdleTimeout is nil for the default; 0 means never.
	IdleTimeout *time.Duration
	// ActivityBytes is nil for the default.
	ActivityBytes *int64
	// Egress is empty for the host's default.
	Egress  Egress
	Private bool
	// Snapshot to start from; empty is the host's image.
	Snapshot CaptureID
}

// StartOptions go with a start.
type StartOptions struct {
	// IdleTimeout is nil to leave it as it is; 0 means never. It holds from then on.
	IdleTimeout *time.Duration
	// ActivityBytes is nil to leave it as it is. It holds from then on.
	ActivityBytes *int64
}

// A ResizeSpec says what a VM is to have from now on. What is nil stays as it is.
type ResizeSpec struct {
	VCPUs     *int
	MemoryMiB *int64
	DiskMiB   *int64 // only more
	// DiscardMemory allows that a suspended VM loses the memory it was to go on
	// with. It is stopped then.
	DiscardMemory bool
}

// A ForkSpec says how the children of a fork are to be.
type ForkSpec struct {
	Count int // 1 to 100
	// Name of the children; with more than one, "-1", "-2"... is appended.
	Name string
	// Persistence is the parent's when nil.
	Persistence *Persistence
	// IdleTimeout is the parent's when nil; 0 means never.
	IdleTimeout *time.Duration
	// LeaveStopped leaves the children of a stopped VM stopped. Otherwise they boot.
	LeaveStopped bool
}

// A Fork is one child of a fork: the VM, or why there is none.
type Fork struct {
	VM  VM
	Err error
}

// A Way is what may be asked of a VM in a state, and where that leads.
type Way struct {
	Ask   string // a word of the API's: start, stop, fork and so on
	From  State
	Works State // Absent if the VM is then not there any more
	Fails State
}
