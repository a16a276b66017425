//go:build failpoints

package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
	"github.com/coppice-vm/coppice/lifecycle"
)

// settleTime is how long a host may take to be in order.
const settleTime = 10 * time.Second

// errMissed is that a fault found nothing to befall.
var errMissed = errors.New("it did not get there")

// A stage is a world in which a scenario is about to be asked for.
type stage struct {
	*world
	subject
	others []coppice.VM // that were there before, to which nothing is being done
	giveUp func()       // has who asks not wait any more

	neighbour coppice.VMID // that worked while something hung
}

// ready brings a new world to where a scenario begins. The caller ends the world,
// if there is one.
func (c *cradle) ready(ctx context.Context, sc scenario) (*stage, error) {
	w, err := c.world(sc.stocks)
	if err != nil {
		return nil, err
	}
	st := &stage{world: w}
	before, cancel := w.alive(ctx)
	defer cancel()
	if st.subject, err = sc.before(before, w); err != nil {
		return st, fmt.Errorf("before: %w", err)
	}
	if st.others, err = w.db.VMs(ctx, coppice.VMFilter{Account: alice}); err != nil {
		return st, err
	}
	st.others = slices.DeleteFunc(st.others, func(vm coppice.VM) bool { return vm.ID == st.vm.ID || vm.Verb != coppice.Idle })
	st.since = time.Now()
	if w.quiet(); sc.opens {
		w.leave()
	}
	return st, nil
}

// ask asks for a scenario, under a daemon with more faults.
func (st *stage) ask(ctx context.Context, sc scenario, more faults) error {
	befall := faults{}
	maps.Copy(befall, sc.with)
	maps.Copy(befall, more)
	if err := st.begin(sc, func(l *failpoint.Life) { l.Begin(befall) }); err != nil {
		return err
	}
	return st.act(ctx, sc)
}

// askWhen asks for a scenario, and has something done at a passage.
func (st *stage) askWhen(ctx context.Context, sc scenario, at failpoint.Passage, do func()) error {
	err := st.begin(sc, func(l *failpoint.Life) {
		l.Begin(sc.with)
		l.When(at, do)
	})
	if err != nil {
		return err
	}
	return st.act(ctx, sc)
}

// begin has a daemon's life begin with what a scenario takes.
func (st *stage) begin(sc scenario, with func(*failpoint.Life)) error {
	if sc.opens {
		return st.openWith(with)
	}
	with(st.life)
	return nil
}

// act asks for a scenario under the daemon that there is.
func (st *stage) act(ctx context.Context, sc scenario) (acted error) {
	ctx, cancel := st.alive(ctx)
	defer cancel()
	acted = sc.act(ctx, st.world, st.subject)
	st.quiet()
	return acted
}

// play is ready and ask.
func (c *cradle) play(ctx context.Context, sc scenario, more faults) (st *stage, acted error, err error) {
	if st, err = c.ready(ctx, sc); err != nil {
		return st, nil, err
	}
	return st, st.ask(ctx, sc, more), nil
}

// trail returns what a scenario passes, the daemon's leaving included.
func (c *cradle) trail(ctx context.Context, sc scenario) ([]failpoint.Step, error) {
	w, acted, err := c.play(ctx, sc, nil)
	if w != nil {
		defer w.end()
	}
	if err = errors.Join(err, acted); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, w.log)
	}
	w.leave()
	return w.life.Trail(), nil
}

// killed has the daemon die in a scenario.
func (c *cradle) killed(ctx context.Context, sc scenario, at failpoint.Passage, fault failpoint.Fault) error {
	w, acted, err := c.play(ctx, sc, faults{at: fault})
	if w != nil {
		defer w.end()
	}
	if err != nil {
		return err
	}
	if w.leave(); !w.life.Passed(at) {
		return errors.Join(errMissed, acted)
	}
	came := cutShort
	if acted == nil {
		came = done
	}
	if err = w.open(nil); err == nil {
		err = w.judge(ctx, sc, came)
	}
	if err != nil {
		return fmt.Errorf("%w\nit answered: %v\n%s", err, acted, w.log)
	}
	return nil
}

// An outcome is what came of what was asked.
type outcome int

const (
	done outcome = iota
	cutShort
	failed
)

// judge looks at a host after a daemon died, or failed, at what was asked. It asks
// again, and removes everything.
func (w *stage) judge(ctx context.Context, sc scenario, came outcome) error {
	ctx, cancel := w.alive(ctx)
	defer cancel()
	if err := w.inOrder(ctx); err != nil {
		return err
	}
	if err := w.check(ctx, sc, came); err != nil {
		return err
	}
	if err := sc.act(ctx, w.world, w.subject); err != nil {
		return fmt.Errorf("asked again: %w", err)
	}
	if came != failed { // after which a VM that ran may be left stopped, and is resized as one
		came = done
	}
	if err := w.check(ctx, sc, came); err != nil {
		return fmt.Errorf("when it was asked again: %w", err)
	}
	return w.clear(ctx)
}

// clear removes everything, and looks whether anything is left.
func (w *world) clear(ctx context.Context) error {
	if err := w.raze(ctx); err != nil {
		return fmt.Errorf("removing everything: %w", err)
	}
	if err := w.inOrder(ctx); err != nil {
		return fmt.Errorf("when everything was removed: %w", err)
	}
	return w.empty(ctx)
}

// inOrder waits until nothing is wrong, or returns what remains so.
func (w *world) inOrder(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	var wrong []string
	for {
		now, err := w.audit(ctx)
		switch {
		case err == nil && len(now) == 0:
			return nil
		case err == nil:
			wrong = now
		}
		if pause(ctx) != nil {
			return fmt.Errorf("it is not in order: %s, %v", strings.Join(wrong, "; "), err)
		}
	}
}

// check holds every VM against what the table and the scenario allow, and what was
// acknowledged against what is there.
func (w *stage) check(ctx context.Context, sc scenario, came outcome) error {
	vms, err := w.db.VMs(ctx, coppice.VMFilter{Account: alice, Deleted: true})
	if err != nil {
		return err
	}
	s := w.subject
	found, made, others := s.vm.ID == "", 0, 0
	for _, vm := range vms {
		switch i := slices.IndexFunc(w.others, func(o coppice.VM) bool { return o.ID == vm.ID }); {
		case vm.ID == s.vm.ID:
			found = true
			err = w.checkSubject(ctx, sc, s, &vm, came)
		case i >= 0:
			others++
			err = w.checkOther(ctx, &w.others[i], &vm)
		case vm.CreatedAt.After(s.since):
			if vm.State == sc.child {
				made++
			}
			err = w.checkChild(ctx, sc, s, &vm)
		}
		if err != nil {
			return fmt.Errorf("VM %s (%s): %w", vm.ID, vm.Reason, err)
		}
	}
	switch {
	case !found:
		return fmt.Errorf("VM %s has no row", s.vm.ID)
	case others != len(w.others):
		return fmt.Errorf("of %d other VMs %d are there", len(w.others), others)
	case came == done && made < sc.children():
		return fmt.Errorf("%d VMs are %s that were made, of %d", made, sc.child, sc.children())
	case came == done && sc.acked != nil:
		if err := sc.acked(ctx, w.world, s); err != nil {
			return fmt.Errorf("what was acknowledged is not there: %w", err)
		}
	}
	return nil
}

// checkOther holds a VM that the scenario is not about against what it was.
func (w *world) checkOther(ctx context.Context, was, now *coppice.VM) error {
	if now.State != was.State || now.Instance != was.Instance {
		return fmt.Errorf("nothing was asked of it; it was %s and is %s", was.State, now.State)
	}
	return w.holds(ctx, now, onDisk, inMemory)
}

func (w *world) checkSubject(ctx context.Context, sc scenario, s subject, vm *coppice.VM, came outcome) error {
	allowed := slices.Clone(sc.leads)
	if len(allowed) == 0 {
		allowed = []coppice.State{s.vm.State}
	}
	if came == failed {
		allowed = append(append(allowed, failures(s.vm.State, allowed)...), sc.fails...)
	}
	if came != done {
		allowed = append(append(allowed, s.vm.State), sc.between...)
	}
	if !slices.Contains(allowed, vm.State) {
		return fmt.Errorf("it is %s, and can be %v", vm.State, allowed)
	}
	memory := ""
	if sc.resumes || vm.State == coppice.Suspended || vm.Instance == s.vm.Instance {
		memory = inMemory
	}
	return w.holds(ctx, vm, onDisk, memory)
}

// failures returns where verbs lead that fail and would have led from one state
// to one of those.
func failures(from coppice.State, to []coppice.State) (states []coppice.State) {
	for _, verb := range coppice.Verbs {
		if step, verdict := lifecycle.Plan(from, verb); verdict == lifecycle.Do && slices.Contains(to, step.Works) {
			states = append(states, step.Fails)
		}
	}
	return states
}

func (w *world) checkChild(ctx context.Context, sc scenario, s subject, vm *coppice.VM) error {
	if allowed := []coppice.State{sc.child, coppice.Absent}; !slices.Contains(allowed, vm.State) {
		return fmt.Errorf("it is new and %s, and can be %v", vm.State, allowed)
	}
	disk, memory := "", ""
	if s.vm.ID != "" {
		disk = onDisk
	}
	if sc.childMemory {
		memory = inMemory
	}
	return w.holds(ctx, vm, disk, memory)
}

// holds returns an error if a VM's disk or memory is not as it should be; empty
// is anything. One that runs must execute.
func (w *world) holds(ctx context.Context, vm *coppice.VM, disk, memory string) (err error) {
	var onDisk, inMemory string
	switch files := (hostFiles{}); vm.State {
	case coppice.Absent:
		return nil
	case coppice.Running:
		var readErr, keptErr error
		onDisk, readErr = w.exec(ctx, vm.ID, "read")
		inMemory, keptErr = w.exec(ctx, vm.ID, "kept")
		err = errors.Join(readErr, keptErr)
	case coppice.Suspended:
		captured := w.files.Capture(vm.Base)
		kept, _, keptErr := files.ReadFile(captured.Memory)
		read, _, readErr := files.ReadFile(captured.Disk)
		_, stateErr := os.Stat(captured.State)
		onDisk, inMemory, err = string(read), string(kept), errors.Join(keptErr, readErr, stateErr)
	case coppice.Failed: // it may have been deleted in part
		return nil
	default:
		read, _, readErr := files.ReadFile(w.files.VM(vm.ID).Disk)
		onDisk, memory, err = string(read), "", readErr
	}
	switch {
	case err != nil:
		return err
	case disk != "" && onDisk != disk:
		return fmt.Errorf("it is %s, and its disk holds %q, not %q", vm.State, onDisk, disk)
	case memory != "" && inMemory != memory:
		return fmt.Errorf("it is %s, and its memory holds %q, not %q", vm.State, inMemory, memory)
	}
	return nil
}

// raze deletes every VM and snapshot.
func (w *world) raze(ctx context.Context) error {
	vms, err := w.VMs(ctx, alice, false)
	snapshots, snapshotsErr := w.Snapshots(ctx, alice)
	errs := []error{err, snapshotsErr}
	for _, c := range snapshots {
		if c.Keep {
			errs = append(errs, w.DeleteSnapshot(ctx, alice, c.ID))
		}
	}
	for _, vm := range vms {
		_, err := w.Delete(ctx, alice, vm.ID)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// empty waits until nothing is left but templates, or returns what remains.
func (w *world) empty(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		if err := w.remains(ctx); err == nil || pause(ctx) != nil {
			return err
		}
	}
}

// remains returns an error if anything is there but templates.
func (w *world) remains(ctx context.Context) error {
	vms, err := w.db.VMs(ctx, coppice.VMFilter{})
	if err != nil || len(vms) > 0 {
		return fmt.Errorf("there are still VMs: %v, %v", vms, err)
	}
	captures, err := w.db.Captures(ctx, "")
	for _, c := range captures {
		if c.Account != coppice.SystemAccount {
			err = errors.Join(err, fmt.Errorf("there is still the capture %s of %s", c.ID, c.Source))
		}
	}
	return err
}
