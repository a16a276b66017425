//go:build failpoints

package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

// TestCrashesAtEveryPoint has the process of a VM end, as by a stranger, when the
// daemon is at each point: the subject's, and those of what is being made. What was
// asked is answered; the VM is where the table says
// and starts again, with its disk as it was; nobody else notices, nothing is left
// over, and what was asked is done when it is asked again.
func TestCrashesAtEveryPoint(t *testing.T) {
	s := sweep{T: t, cradle: newCradle(t)}
	var died atomic.Int64
	s.over(func(_ scenario, step, last failpoint.Step) []failpoint.Fault {
		again := step.Stage == failpoint.Looking || step.Stage == failpoint.Doing && last.Stage == failpoint.Done && s.passed[step.Point]
		if again && !*all {
			return nil
		}
		return []failpoint.Fault{failpoint.Kill}
	}, func(ctx context.Context, sc scenario, at failpoint.Passage, _ failpoint.Fault) error {
		if sc.slow && sc.stocks > 0 { // nothing takes what is made ahead, so that nothing looks at it
			return nil
		}
		for _, v := range victims {
			n, err := s.crashed(ctx, sc, at, v.is)
			if err != nil {
				return fmt.Errorf("of %s: %w", v.name, err)
			}
			died.Add(int64(n))
		}
		return nil
	})
	t.Logf("at %d passages of %d scenarios %d processes ended", s.passages, s.ran, died.Load())
}

// victims are the VMs whose processes end.
var victims = []struct {
	name string
	is   func(*stage, coppice.VMID) bool
}{
	{"the subject", func(st *stage, id coppice.VMID) bool { return id == st.vm.ID }},
	{"what is made", func(st *stage, id coppice.VMID) bool {
		return id != st.vm.ID && !slices.ContainsFunc(st.others, func(vm coppice.VM) bool { return vm.ID == id })
	}},
}

// crashed has processes end in a scenario, and returns how many.
func (c *cradle) crashed(ctx context.Context, sc scenario, at failpoint.Passage, is func(*stage, coppice.VMID) bool) (died int, err error) {
	w, err := c.ready(ctx, sc)
	if w != nil {
		defer w.end()
	}
	if err != nil {
		return 0, err
	}
	acted := w.askWhen(ctx, sc, at, func() {
		ids, _ := w.hv.Runs(ctx)
		for _, id := range ids {
			if is(w, id) {
				died++
				w.crashed.Store(true)
				w.hv.End(id, coppice.Exit{Kind: coppice.ExitCrash, Detail: "the process was killed"})
			}
		}
	})
	if !w.life.Passed(at) {
		if w.leave(); !w.life.Passed(at) { // by which alone it gets there, maybe
			return 0, errors.Join(errMissed, acted)
		}
	}
	if w.Manager == nil {
		err = w.open(nil)
	}
	if died == 0 || err != nil {
		return 0, err
	}
	if err := w.judgeCrash(ctx, sc, acted); err != nil {
		return died, fmt.Errorf("%w\nit answered: %v\n%s", err, acted, w.log)
	}
	return died, nil
}

// judgeCrash looks at a host on which processes have ended.
func (w *stage) judgeCrash(ctx context.Context, sc scenario, acted error) error {
	ctx, cancel := w.alive(ctx)
	defer cancel()
	if errors.Is(acted, context.DeadlineExceeded) {
		return errors.New("it was not answered")
	}
	if acted != nil && coppice.CodeOf(acted) == coppice.CodeInternal && !errors.Is(acted, coppice.ErrGuestGone) { // which http has a code for
		return errors.New("the answer has no code")
	}
	w.quiet() // also what a daemon that was just opened settles
	if err := w.inOrder(ctx); err != nil {
		return err
	}
	vms, err := w.db.VMs(ctx, coppice.VMFilter{Account: alice, Deleted: true})
	if err != nil {
		return err
	}
	for _, vm := range vms {
		if i := slices.IndexFunc(w.others, func(o coppice.VM) bool { return o.ID == vm.ID }); i >= 0 {
			err = w.checkOther(ctx, &w.others[i], &vm)
		} else if vm.ID == w.vm.ID || vm.CreatedAt.After(w.since) {
			err = w.revives(ctx, sc, &vm, acted)
		}
		if err != nil {
			return fmt.Errorf("VM %s (%s): %w", vm.ID, vm.Reason, err)
		}
	}
	if err := sc.act(ctx, w.world, w.subject); err != nil {
		return fmt.Errorf("asked again: %w", err)
	}
	if err := w.inOrder(ctx); err != nil {
		return fmt.Errorf("when it was asked again: %w", err)
	}
	return w.clear(ctx)
}

// revives holds that a VM is where its crash can have left it, and starts it again.
func (w *stage) revives(ctx context.Context, sc scenario, vm *coppice.VM, acted error) error {
	leads, disk := sc.leads, onDisk
	if vm.ID != w.vm.ID {
		leads = []coppice.State{sc.child, coppice.Absent}
	}
	if w.vm.ID == "" {
		disk = ""
	}
	kept := acted == nil && len(leads) == 1 && leads[0] != coppice.Running // no run is needed for it
	switch {
	case vm.State == coppice.Absent && !slices.Contains(leads, coppice.Absent):
		return errors.New("it is gone")
	case kept && vm.State != leads[0]:
		return fmt.Errorf("it is %s, which was acknowledged to be %s", vm.State, leads[0])
	case vm.State == coppice.Absent:
		return nil
	}
	memory := ""
	if vm.ID == w.vm.ID && (vm.State == coppice.Suspended || vm.Instance == w.vm.Instance) {
		memory = inMemory
	}
	if err := w.holds(ctx, vm, disk, memory); err != nil || vm.State == coppice.Suspended {
		return err
	}
	started, err := w.Start(ctx, alice, vm.ID, coppice.StartOptions{})
	if err != nil {
		return fmt.Errorf("it is %s and does not start: %w", vm.State, err)
	}
	return w.holds(ctx, &started, disk, "")
}
