package coppice

import (
	"context"
	"net"
	"time"
)

// A Hypervisor turns VMs into running machines. A run does not end with the
// daemon: only Kill ends it, or the guest itself, or the host.
type Hypervisor interface {
	// Start begins a run of m and returns when the guest executes. If it
	// fails, or ctx ends first, nothing is left of the attempt.
	Start(ctx context.Context, m Machine) (Run, error)
	// Prepare starts ahead what a Start of the VM needs that is to continue a
	// capture, so that it takes less time: m is the machine as far as it is
	// known, with a memory file that stands in for the capture's. Its disk's
	// content is not looked at before the Start, but the file may not be
	// replaced by another. A Start that cannot use what was prepared ends it.
	// What is not used Discard ends, and an Attach too.
	Prepare(ctx context.Context, m Machine) error
	// Attach returns the run of a VM that was started earlier, maybe by a
	// daemon that is gone, whatever it is doing. A run that another client left
	// paused goes on. [ErrNoRun] if there is none; then nothing of it is left
	// either. Any other error means that there is a process but it does not
	// answer within ctx: Discard ends it.
	Attach(ctx context.Context, id VMID) (Run, error)
	// Discard ends whatever process the VM has, answering or not, and returns
	// when it is gone. nil if there was none.
	Discard(ctx context.Context, id VMID) error
	// Runs lists the VMs that have a process now.
	Runs(ctx context.Context) ([]VMID, error)

	Consoles
	ProcessMeter
	Inspector
}

// Consoles keeps what the serial consoles of VMs print.
type Consoles interface {
	// Console returns what the VM's serial console has printed, across its
	// runs, oldest first: the last part of it, bounded by the implementation.
	// Empty if there is none.
	Console(ctx context.Context, id VMID) ([]byte, error)
	// RemoveConsole removes the record of a VM that has no process, and every
	// other file kept for its runs; nil if there is none.
	RemoveConsole(ctx context.Context, id VMID) error
}

// A Machine is what a run is made of.
type Machine struct {
	VM       VMID
	Instance InstanceID
	Size     Size
	Disk     string // raw file, written in place
	// Memory is the file the guest's RAM is a private copy of. It is never written.
	Memory string
	// Boot is set for a run that boots. Otherwise State is.
	Boot *Image
	// State is the device state file of the capture that Memory and Disk come from.
	State string
}

// A Run is one VMM process. Its methods may be called concurrently.
type Run interface {
	// Wait returns how the run ended, when it has: the process is gone, or the
	// guest will execute nothing more. Then Kill cleans up. An error is ctx's.
	Wait(ctx context.Context) (Exit, error)
	// Waits returns what the guest waits for, in a sentence, if it does not
	// execute for want of it and goes on by itself when it is there; else nothing.
	// changed is closed when that has changed.
	Waits() (what string, changed <-chan struct{})
	// Capture freezes the guest, writes its memory, devices and disk to the
	// files of dst, which do not exist yet, and lets it go on unless leave is
	// LeavePaused. On failure the guest goes on and dst's files may be there in
	// part; [ErrNoRun] if it cannot, because the run has ended.
	Capture(ctx context.Context, dst CaptureFiles, leave Leave) (CaptureStats, error)
	// Resume lets a guest that Capture left paused go on; [ErrNoRun] if the run has ended.
	Resume(ctx context.Context) error
	// Kill ends the process, without asking the guest, and returns when it is
	// gone with its sockets. Calling it again does nothing.
	Kill(ctx context.Context) error
	// DialAgent connects to the guest's agent port: one byte stream, one
	// connection at a time. It does not say that anyone listens.
	DialAgent(ctx context.Context) (net.Conn, error)
}

// Leave says how Capture leaves the guest.
type Leave int

const (
	LeaveRunning Leave = iota
	LeavePaused
)

// CaptureStats is what a capture cost.
type CaptureStats struct {
	Paused   time.Time     // when the guest stopped to execute
	Pause    time.Duration // for how long it did not
	DirtyMiB int64         // memory that differs from the base
}

// An Exit is how a run ended.
type Exit struct {
	Kind ExitKind
	// Detail is a sentence with what is known: the signal, the panic's message.
	Detail string
}

// ExitKind classifies an [Exit].
type ExitKind string

const (
	ExitPowerOff ExitKind = "poweroff" // the guest powered itself off
	ExitReboot   ExitKind = "reboot"   // the guest asked for a reset: a new run should follow
	ExitPanic    ExitKind = "panic"    // the guest's kernel panicked
	ExitKilled   ExitKind = "killed"   // Kill was called
	ExitCrash    ExitKind = "crash"    // the process ended by itself or by a stranger
)
