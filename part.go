package coppice

import "time"

// A Part is a part of what is done for a request, as a tracer is told of it: a
// verb that is done to a VM, or a phase of that.
type Part struct {
	Name    string
	VM      VMID
	Capture CaptureID // that the VM goes on from, or that is made of it; empty if there is none
	Began   time.Time
}
