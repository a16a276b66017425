// Package model knows what a VM may answer to clients that all use it at once,
// and tries hosts by that: many clients ask for whatever they like, and for each VM
// there must be an order of all that was asked of it, one after the other, that
// explains every answer. What fails is made smaller, and can be kept as text.
package model

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/coppice-vm/coppice"
)

// A VM is what one is like when nothing is being done to it.
type VM struct {
	State        coppice.State
	Memory, Disk string // what its guest keeps there
	CPUs         string
	// Late are commands that a guest may have got though who asked was told that the
	// connection broke: each " VERB VALUE", done whenever the guest goes on, or never.
	Late string
}

// New is a VM that was just created.
var New = VM{State: coppice.Running, Disk: "of the image", CPUs: "1"}

// An Act is what a client asks of a VM: to start, stop, kill, suspend or delete it, to
// resize it to so many CPUs, to fork it or make a VM from a snapshot of it, or its guest
// to keep a value in memory, to write one to the disk so that it is there for good, or to
// return what is kept or written.
type Act struct {
	Client int // who asks one thing after the other
	Verb   string
	Arg    string // what to keep or to write, how many CPUs
	// After says that it is asked when all before it has been answered.
	After bool
}

// A Call is an act, and how it was answered.
type Call struct {
	Act
	Begin, End time.Duration
	Got        string // what was kept or written, or [Seen] in a VM that was made of this one
	Err        error
}

func (c Call) String() string {
	return fmt.Sprintf("%10.3f to %10.3f ms, client %2d: %s %s = %q, %v", c.Begin.Seconds()*1e3, c.End.Seconds()*1e3, c.Client, c.Verb, c.Arg, c.Got, c.Err)
}

// Seen is what is in the guest of a VM that was made of another.
func Seen(memory, disk string) string { return memory + "|" + disk }

// shares are how often clients ask for a verb, of all together: more often for what
// leaves a VM to be used than for what ends what there was to be lost.
var shares = map[string]int{
	"keep": 16, "kept": 32, "write": 8, "read": 16, "start": 16, "suspend": 12,
	"fork": 4, "snapshot": 4, "stop": 3, "kill": 3, "resize": 3, "delete": 1,
}

// all has each verb as often as its share.
var all = func() (verbs []string) {
	for _, verb := range slices.Sorted(maps.Keys(shares)) {
		verbs = append(verbs, slices.Repeat([]string{verb}, shares[verb])...)
	}
	return verbs
}()

// Choose returns what a client asks for next.
func Choose(r *rand.Rand) Act {
	a := Act{Verb: all[r.IntN(len(all))]}
	switch a.Verb {
	case "keep", "write":
		a.Arg = fmt.Sprint(r.Uint32())
	case "resize":
		a.Arg = fmt.Sprint(1 + r.IntN(2))
	}
	return a
}

// A tried is a call, and what was asked of the same VM meanwhile.
type tried struct {
	Call
	beside []Call
}

// next returns what a VM may be like after a call that was answered as it was;
// none if it could not have been answered so.
func (vm VM) next(c tried) []VM {
	if c.Err != nil {
		return vm.failed(c)
	}
	if vm.State == coppice.Absent && c.Verb != "delete" {
		return nil
	}
	switch c.Verb {
	case "start":
		if vm.State != coppice.Running && vm.State != coppice.Suspended {
			vm = vm.off(coppice.Running)
		}
		vm.State = coppice.Running
		return []VM{vm}
	case "stop", "kill":
		return []VM{vm.off(coppice.Stopped)}
	case "resize":
		if vm.CPUs == c.Arg {
			return []VM{vm}
		}
		ok := vm.State == coppice.Running || vm.State == coppice.Stopped
		vm.CPUs = c.Arg
		return vm.off(vm.State).when(ok)
	case "suspend":
		ok := vm.State == coppice.Running || vm.State == coppice.Suspended
		vm.State = coppice.Suspended
		return vm.when(ok)
	case "delete":
		return []VM{{State: coppice.Absent}}
	case "fork", "snapshot":
		if vm.State == coppice.Stopped {
			return vm.when(c.Got == Seen("", vm.Disk))
		}
		memory, disk, _ := strings.Cut(c.Got, "|")
		return vm.when(len(vm.sees("keep", memory)) > 0 && len(vm.sees("write", disk)) > 0)
	}
	return vm.awake().does(c.Call)
}

// when returns vm if that can be.
func (vm VM) when(ok bool) []VM {
	if !ok {
		return nil
	}
	return []VM{vm}
}

// off is what a VM is like that does not run any more.
func (vm VM) off(state coppice.State) VM {
	vm.State, vm.Memory, vm.Late = state, "", ""
	return vm
}

// awake is what a VM is like that somebody uses.
func (vm VM) awake() VM {
	if vm.State == coppice.Suspended {
		vm.State = coppice.Running
	}
	return vm
}

// does is next of a command in the guest that works; the guest runs.
func (vm VM) does(c Call) []VM {
	if vm.State != coppice.Running {
		return nil
	}
	switch c.Verb {
	case "keep":
		vm.Memory = c.Arg
	case "write":
		vm.Disk = c.Arg
	case "kept":
		return vm.sees("keep", c.Got)
	default:
		return vm.sees("write", c.Got)
	}
	return []VM{vm}
}

// late is what [VM.Late] has of a.
func (a Act) late() string { return " " + a.Verb + " " + a.Arg }

// sees is what a VM is like in which what is kept, or written, is value: none if it
// cannot be.
func (vm VM) sees(verb, value string) []VM {
	is := &vm.Memory
	if verb == "write" {
		is = &vm.Disk
	}
	if *is == value {
		return []VM{vm}
	}
	late := Act{Verb: verb, Arg: value}.late()
	before, after, found := strings.Cut(vm.Late, late)
	*is, vm.Late = value, before+after
	return vm.when(found)
}

// searchTime is how long an order is looked for. What can be explained takes milliseconds;
// what cannot be takes the longer the more was under way at once.
const searchTime = time.Minute

// Check returns nil if a VM that was as [New] and does one thing at a time, each at some
// moment between its beginning and its end, could have answered so. Otherwise the
// error has an order that explains as many calls as can be, and those that could be next.
func Check(calls []Call) error {
	one := porcupine.NondeterministicModel{
		Init: func() []any { return []any{New} },
		Step: func(state, input, _ any) (states []any) {
			for _, vm := range state.(VM).next(input.(tried)) {
				states = append(states, vm)
			}
			return states
		},
	}
	var operations []porcupine.Operation
	for i, c := range calls {
		operations = append(operations, porcupine.Operation{ClientId: c.Client, Input: tried{c, beside(calls, i)}, Call: int64(c.Begin), Return: int64(c.End)})
	}
	result, info := porcupine.CheckOperationsVerbose(one.ToModel(), operations, searchTime)
	if result == porcupine.Ok {
		return nil
	}
	var best []int // of calls
	for _, order := range slices.Concat(info.PartialLinearizations()...) {
		if len(order) > len(best) {
			best = order
		}
	}
	first := time.Duration(math.MaxInt64) // end of those that are left: what began later comes later
	for i, c := range calls {
		if !slices.Contains(best, i) {
			first = min(first, c.End)
		}
	}
	var text strings.Builder
	fmt.Fprintln(&text, "no order was found that explains all of this. Explained, in order:")
	for _, i := range best {
		fmt.Fprintln(&text, calls[i])
	}
	fmt.Fprintln(&text, "and next is one of these, but none can be:")
	for i, c := range calls {
		if !slices.Contains(best, i) && c.Begin <= first {
			fmt.Fprintln(&text, c)
		}
	}
	return errors.New(text.String())
}
