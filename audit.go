package coppice

import "context"

// A Trace is one thing that the host has because of coppice, as somebody finds
// it who looks.
type Trace struct {
	Kind TraceKind
	// Name is what the host knows it by: a path, a process id, the name of a link.
	Name string
	// VM, Capture or Image is whose it is by its name or its place; none if that
	// says nothing.
	VM      VMID
	Capture CaptureID
	Image   ImageID
	// Disposable is set if [Eraser.Erase] may remove it, should nothing account for it.
	Disposable bool
}

// TraceKind is what a [Trace] is.
type TraceKind string

const (
	TraceProcess    TraceKind = "process"           // a VMM
	TraceRecord     TraceKind = "record"            // of a run, by which the next daemon finds it
	TraceSocket     TraceKind = "socket"            // of a VMM; a run has two
	TraceLog        TraceKind = "log"               // of a VM's runs
	TraceUser       TraceKind = "user"              // that a VM's runs have
	TraceGroup      TraceKind = "control group"     // of a VM's run
	TraceDisk       TraceKind = "disk"              // a file, of a VM or a capture
	TraceMemory     TraceKind = "memory"            // a file, of a VM or a capture
	TraceState      TraceKind = "device state"      // a file of a capture
	TraceRow        TraceKind = "row"               // of a capture, in the store
	TraceImage      TraceKind = "image"             // that VMs boot from
	TraceUnfinished TraceKind = "unfinished"        // files that are being made or removed
	TraceNamespace  TraceKind = "network namespace" // of a VM
	TraceTap        TraceKind = "tap"               // the host's end of a VM's network card
	TraceRules      TraceKind = "rules"             // of a VM's network; of nobody: of all uplinks on the host
	TraceUplink     TraceKind = "uplink"            // of a VM's network
	TraceStray      TraceKind = "stray"             // nothing that coppice makes, in a place that is its own
)

// An Inspector says what the host has because of it.
type Inspector interface {
	// Traces lists everything that is there. It changes nothing. What is made
	// or removed meanwhile may be listed or not.
	Traces(ctx context.Context) ([]Trace, error)
}

// An Eraser removes what nobody's verbs would.
type Eraser interface {
	// Erase removes a trace of its own that is disposable; nil if it is gone already.
	Erase(ctx context.Context, t Trace) error
}

// A Discrepancy is a difference between what the store says and what the host has.
type Discrepancy struct {
	// Trace is what there is too much, or what is missing. Of a missing one the
	// name may not be known.
	Trace
	Missing bool
	// Text says in a sentence what is wrong, and Fix what mends it.
	Text string
	Fix  string
	// Repairable is set if a repair can mend it without harm, Repaired if one has.
	Repairable bool
	Repaired   bool
	// Err is why a repair did not work; nil if none was tried or it did.
	Err error
}
