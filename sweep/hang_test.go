//go:build failpoints

package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

// hangTime is how long what does not wait for a step that hangs may take: longer
// than what has begun to be taken back is given.
const hangTime = 40 * time.Second

// openTime is how long is waited for a daemon to be open in whose life a step
// hangs. One that would be later is taken for one that hangs itself, which leaves
// out what follows and no more.
const openTime = 200 * time.Millisecond

// TestHangsAtEveryPoint has every step hang that can. Another VM works meanwhile.
// Then the step goes on, and all is as if it had not hung; or what hangs is
// deleted by another call, and nothing is left of it; or the daemon leaves, and
// the next has the host in order. A disk and a store do not let go of who waits for
// them, so those only go on, and so does what hangs before a daemon answers.
func TestHangsAtEveryPoint(t *testing.T) {
	s := sweep{T: t, cradle: newCradle(t)}
	seen := map[bool]map[string]bool{false: {}, true: {}} // where a daemon opens, and where not
	s.over(func(sc scenario, step, _ failpoint.Step) []failpoint.Fault {
		again := seen[sc.opens][step.Point] && (step.Stage == failpoint.Looking || !givesUp(step.Point))
		seen[sc.opens][step.Point] = true
		if step.Stage == failpoint.Done || again && !*all {
			return nil
		}
		return []failpoint.Fault{failpoint.Hang}
	}, func(ctx context.Context, sc scenario, at failpoint.Passage, _ failpoint.Fault) error {
		for _, e := range endings {
			takesBack := len(sc.with) > 0 // which is given half a minute, whoever waits
			if e.givesUp && (!givesUp(at.Point) || takesBack && !*all) {
				continue
			}
			err := s.hung(ctx, sc, at, e.end)
			if errors.Is(err, errLeft) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
		}
		return nil
	})
	t.Logf("a step hung in %d passages of %d scenarios", s.passages, s.ran)
}

// errLeft is that only a daemon that leaves comes to a step.
var errLeft = errors.New("the daemon left")

// givesUp reports whether the steps of a point end when nobody waits for them any more.
func givesUp(point string) bool {
	port, _, _ := strings.Cut(point, ".")
	return slices.Contains([]string{"Hypervisor", "Run", "Guest", "Session", "Network"}, port)
}

// endings are how it ends that a step hangs.
var endings = []struct {
	name    string
	givesUp bool // only where it does
	end     func(context.Context, *stage, scenario, <-chan error) error
}{
	{"it goes on", false, goesOn},
	{"it is deleted", true, isDeleted},
	{"the daemon leaves", true, daemonLeaves},
}

// hung has a step hang in a scenario, until end ends that. acted is what was answered.
func (c *cradle) hung(ctx context.Context, sc scenario, at failpoint.Passage, end func(context.Context, *stage, scenario, <-chan error) error) error {
	var neighbours []coppice.VMID
	before, wanted := sc.before, 1
	if sc.opens { // the step may be one of a neighbour's
		wanted = 2
	}
	sc.before = func(ctx context.Context, w *world) (s subject, err error) {
		for range wanted {
			neighbour, err := begin(ctx, w, coppice.NewVM{Persistence: coppice.Persistence{Type: coppice.Persistent}})
			if err != nil {
				return s, err
			}
			neighbours = append(neighbours, neighbour.vm.ID)
		}
		return before(ctx, w)
	}
	w, err := c.ready(ctx, sc)
	if w != nil {
		defer w.end()
	}
	if err != nil {
		return err
	}
	befall := faults{at: failpoint.Hang}
	for p, f := range sc.with {
		befall[p] = f
	}
	if sc.opens {
		if opened, err := w.opens(ctx, at, befall); err != nil {
			return fmt.Errorf("%w\n%s", err, w.log)
		} else if !opened { // nobody could ask for anything
			// Those that worked meanwhile may be there or not: nothing was asked of them.
			if err := w.judge(ctx, sc, cutShort); err != nil {
				return fmt.Errorf("%w\n%s", err, w.log)
			}
			return errLeft
		}
	} else {
		w.life.Begin(befall)
	}
	acted := make(chan error, 1)
	asking, giveUp := context.WithCancel(ctx)
	defer giveUp()
	w.giveUp = giveUp
	go func() { acted <- w.act(asking, sc) }()
	defer func() { w.life.Release() }() // of the daemon that there is by then
	if err := w.until(ctx, func() bool { return w.life.Passed(at) || len(acted) > 0 }); err != nil {
		return err
	}
	if !w.life.Passed(at) {
		if at.N > 1 && !*all { // it takes its time
			return errLeft
		}
		if err := w.leavesSoon(ctx); err != nil {
			return err
		}
		if !w.life.Passed(at) {
			return errors.Join(errMissed, <-acted)
		}
		return errLeft
	}
	if w.neighbour, err = w.works(ctx, neighbours); err == nil {
		// What they have in memory is gone.
		w.others = slices.DeleteFunc(w.others, func(vm coppice.VM) bool { return slices.Contains(neighbours, vm.ID) })
		err = end(ctx, w, sc, acted)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, w.log)
	}
	return nil
}

// opens opens a daemon in whose life a step hangs, and reports whether it is open
// then, or hangs itself; in that case the step has gone on.
func (w *stage) opens(ctx context.Context, at failpoint.Passage, befall faults) (bool, error) {
	begun, opened := make(chan struct{}), make(chan error, 1)
	go func() {
		opened <- w.openWith(func(l *failpoint.Life) {
			l.Begin(befall)
			close(begun)
		})
	}()
	select {
	case <-begun:
	case err := <-opened:
		return false, err
	}
	life := w.life
	err := w.until(ctx, func() bool { return life.Passed(at) || len(opened) > 0 })
	if err != nil {
		return false, err
	}
	select {
	case err := <-opened:
		return true, err
	case <-time.After(openTime):
		life.Release()
		return false, <-opened
	}
}

// until waits until something is so.
func (w *world) until(ctx context.Context, so func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !so() {
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// works holds that one of some VMs works at least, and returns that: it is used,
// stopped and started.
func (w *world) works(ctx context.Context, ids []coppice.VMID) (coppice.VMID, error) {
	ctx, cancel := context.WithTimeout(ctx, hangTime)
	defer cancel()
	var all sync.WaitGroup
	worked := make(chan coppice.VMID, len(ids))
	errs := make([]error, len(ids))
	for i, id := range ids {
		all.Go(func() {
			if errs[i] = w.workIn(ctx, id); errs[i] == nil {
				worked <- id
				cancel()
			}
		})
	}
	all.Wait()
	select {
	case id := <-worked:
		return id, nil
	default:
		return "", fmt.Errorf("another VM does not work meanwhile: %w", errors.Join(errs...))
	}
}

// workIn uses, stops and starts a VM.
func (w *world) workIn(ctx context.Context, id coppice.VMID) error {
	_, wakeErr := w.Start(ctx, alice, id, coppice.StartOptions{}) // where the host was rebooted
	_, useErr := w.exec(ctx, id, "kept")
	_, stopErr := w.Stop(ctx, alice, id)
	_, startErr := w.Start(ctx, alice, id, coppice.StartOptions{})
	disk, readErr := w.exec(ctx, id, "read")
	err := errors.Join(wakeErr, useErr, stopErr, startErr, readErr)
	if err == nil && disk != onDisk {
		err = fmt.Errorf("its disk is %q", disk)
	}
	return err
}

// goesOn has the step go on, as if it had not hung.
func goesOn(ctx context.Context, w *stage, sc scenario, acted <-chan error) error {
	w.life.Release()
	if err := <-acted; err != nil {
		return fmt.Errorf("it was answered: %w", err)
	}
	return w.judge(ctx, sc, done)
}

// isDeleted deletes what something is done to, or may be.
func isDeleted(ctx context.Context, w *stage, sc scenario, acted <-chan error) error {
	vms, err := w.db.VMs(ctx, coppice.VMFilter{Account: alice})
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, hangTime)
	defer cancel()
	for _, vm := range vms {
		about := vm.ID == w.vm.ID || vm.CreatedAt.After(w.since)
		if sc.opens { // it is about all of them
			about = vm.ID != w.neighbour
		}
		if !about {
			continue
		}
		if vm.Verb == coppice.Delete { // which another is done with
			w.life.Release()
		}
		if _, err := w.Delete(within, alice, vm.ID); err != nil {
			return fmt.Errorf("delete of VM %s, which was %s (%s): %w", vm.ID, vm.State, vm.Verb, err)
		}
	}
	w.life.Release()
	w.giveUp()
	<-acted
	if err := w.inOrder(ctx); err != nil {
		return err
	}
	return w.clear(ctx)
}

// daemonLeaves has the daemon leave, and the next come.
func daemonLeaves(ctx context.Context, w *stage, sc scenario, acted <-chan error) error {
	if err := w.leavesSoon(ctx); err != nil {
		return err
	}
	w.giveUp()
	came := cutShort
	if err := <-acted; err == nil {
		came = done
	}
	w.leave()
	if err := w.open(nil); err != nil {
		return err
	}
	return w.judge(ctx, sc, came)
}

// leavesSoon has the daemon leave, who waits for no verb in flight.
func (w *world) leavesSoon(ctx context.Context) error {
	left := make(chan struct{})
	go func() {
		defer close(left)
		now, cancel := context.WithCancel(ctx)
		cancel()
		w.Close(now)
	}()
	select {
	case <-left:
		return nil
	case <-time.After(hangTime):
		w.life.Release()
		<-left
		return errors.New("the daemon did not leave")
	}
}
