package model

import (
	"slices"

	"github.com/coppice-vm/coppice"
)

// commands are what is asked of a guest. They wake it.
var commands = []string{"keep", "kept", "write", "read"}

// ends are what ends a run, and with it the connections of whoever works in the guest.
var ends = []string{"stop", "kill", "suspend", "resize", "delete"}

// conflicts has what may keep a VM from something else, or cut that short, while it is
// done. What is not here is waited for, and nothing keeps a VM from being deleted.
var conflicts = map[string][]string{
	"start":    {"start", "stop", "kill", "delete"}, // a start of a lost VM kills it first
	"stop":     slices.Concat(commands, []string{"start", "stop", "kill", "resize", "fork", "snapshot", "delete"}),
	"kill":     {"delete"},
	"suspend":  slices.Concat(commands, []string{"start", "stop", "kill", "resize", "fork", "snapshot", "delete"}),
	"resize":   slices.Concat(commands, []string{"start", "stop", "kill", "fork", "snapshot", "delete"}),
	"fork":     slices.Concat(commands, []string{"start", "stop", "kill", "resize", "delete"}),
	"snapshot": slices.Concat(commands, []string{"start", "stop", "kill", "resize", "delete"}),
	"keep":     {"start", "stop", "kill", "delete"},
	"kept":     {"start", "stop", "kill", "delete"},
	"write":    {"start", "stop", "kill", "delete"},
	"read":     {"start", "stop", "kill", "delete"},
}

// refuses are the states in which something is answered [coppice.CodeVMNotRunning].
var refuses = map[string][]coppice.State{
	"stop":     {coppice.Failed},
	"suspend":  {coppice.Stopped, coppice.Failed},
	"resize":   {coppice.Suspended, coppice.Failed},
	"fork":     {coppice.Failed},
	"snapshot": {coppice.Failed},
	"keep":     {coppice.Stopped, coppice.Failed},
	"kept":     {coppice.Stopped, coppice.Failed},
	"write":    {coppice.Stopped, coppice.Failed},
	"read":     {coppice.Stopped, coppice.Failed},
}

// failed is next of a call that did not work. Only what the VM was like explains that,
// or something else that was done to it at the time.
func (vm VM) failed(c tried) []VM {
	command := slices.Contains(commands, c.Verb)
	switch coppice.CodeOf(c.Err) {
	case coppice.CodeVMDeleted, coppice.CodeVMNotFound:
		return vm.when(vm.State == coppice.Absent)
	case coppice.CodeVMNotRunning:
		return vm.when(slices.Contains(refuses[c.Verb], vm.State) && (c.Verb != "resize" || vm.CPUs != c.Arg))
	case coppice.CodeVMSuspending:
		return vm.when(c.hasBeside("suspend") && !slices.Contains([]string{"kill", "suspend", "delete"}, c.Verb))
	case coppice.CodeConflict:
		if !c.hasBeside(conflicts[c.Verb]...) {
			return nil
		}
		return vm.cutShort(c)
	case coppice.CodeUnavailable:
		// The VM went away under a command, before it was done or after.
		if !command || !c.hasBeside(ends...) {
			return nil
		}
		woken := vm.awake()
		if c.Verb == "kept" || c.Verb == "read" {
			return []VM{vm, woken}
		}
		later := woken
		later.Late += c.late()
		return append(woken.does(c.Call), vm, woken, later)
	}
	return nil
}

// cutShort is what a VM may be like after a call that was answered with a conflict: it
// was not begun, or cut short where it was.
func (vm VM) cutShort(c tried) []VM {
	runs := vm.State == coppice.Running
	switch {
	case (c.Verb == "stop" || c.Verb == "kill") && (runs || vm.State == coppice.Suspended):
		return []VM{vm, vm.off(coppice.Failed)}
	case c.Verb == "resize" && runs:
		return []VM{vm, vm.off(coppice.Failed), vm.off(coppice.Stopped)}
	case c.Verb == "start" && vm.State == coppice.Failed:
		return []VM{vm, vm.off(coppice.Stopped)}
	}
	return []VM{vm}
}

// hasBeside reports whether one of verbs was asked for meanwhile.
func (c tried) hasBeside(verbs ...string) bool {
	return slices.ContainsFunc(c.beside, func(other Call) bool { return slices.Contains(verbs, other.Verb) })
}

// beside returns those calls that were under way at any time at which the i-th was.
func beside(calls []Call, i int) (others []Call) {
	for j, other := range calls {
		if j != i && other.Begin <= calls[i].End && other.End >= calls[i].Begin {
			others = append(others, other)
		}
	}
	return others
}
