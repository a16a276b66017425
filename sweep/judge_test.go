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

// play brings a new world to where a scenario begins, and asks for it under a
// daemon with more faults. The caller ends the world.
func (c *cradle) play(ctx context.Context, sc scenario, more faults) (w *world, s subject, acted error, err error) {
	befall := faults{}
	maps.Copy(befall, sc.with)
	maps.Copy(befall, more)
	if w, err = c.world(sc.stocks); err != nil {
		return nil, s, nil, err
	}
	before, cancel := w.alive(ctx)
	defer cancel()
	if s, err = sc.before(before, w); err != nil {
		return w, s, nil, fmt.Errorf("before: %w", err)
	}
	s.since = time.Now()
	if w.quiet(); sc.opens {
		w.leave()
		if acted = w.open(befall); acted != nil {
			return w, s, acted, nil
		}
	} else {
		w.life.Begin(befall)
	}
	acting, cancel := w.alive(ctx)
	defer cancel()
	acted = sc.act(acting, w, s)
	w.quiet()
	return w, s, acted, nil
}

// trail returns what a scenario passes, the daemon's leaving included.
func (c *cradle) trail(ctx context.Context, sc scenario) ([]failpoint.Step, error) {
	w, _, acted, err := c.play(ctx, sc, nil)
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
	w, s, acted, err := c.play(ctx, sc, faults{at: fault})
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
		err = w.judge(ctx, sc, s, came)
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
func (w *world) judge(ctx context.Context, sc scenario, s subject, came outcome) error {
	ctx, cancel := w.alive(ctx)
	defer cancel()
	if err := w.inOrder(ctx); err != nil {
		return err
	}
	if err := w.check(ctx, sc, s, came); err != nil {
		return err
	}
	if err := sc.act(ctx, w, s); err != nil {
		return fmt.Errorf("asked again: %w", err)
	}
	if came != failed { // after which a VM that ran may be left stopped, and is resized as one
		came = done
	}
	if err := w.check(ctx, sc, s, came); err != nil {
		return fmt.Errorf("when it was asked again: %w", err)
	}
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

// check holds every VM against what the table and the scenario allow.
func (w *world) check(ctx context.Context, sc scenario, s subject, came outcome) error {
	vms, err := w.db.VMs(ctx, coppice.VMFilter{Account: alice, Deleted: true})
	if err != nil {
		return err
	}
	found, made := s.vm.ID == "", 0
	for _, vm := range vms {
		if vm.ID == s.vm.ID {
			found = true
			err = w.checkSubject(ctx, sc, s, &vm, came)
		} else if vm.CreatedAt.After(s.since) {
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
	case came == done && sc.child != "" && made == 0:
		return fmt.Errorf("no VM that is %s was made", sc.child)
	}
	return nil
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
