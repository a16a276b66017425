//go:build failpoints

package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/coppice-vm/coppice/internal/failpoint"
)

// TestFailsAtEveryPoint has every step fail that can, for want of what the errno
// says. What was asked is done, or answered with an error and where the table
// says; without another daemon, nothing is left of it, and it is done when it is
// asked again.
func TestFailsAtEveryPoint(t *testing.T) {
	s := sweep{T: t, cradle: newCradle(t)}
	errnos := []failpoint.Fault{
		failpoint.Fault(syscall.EIO), failpoint.Fault(syscall.ENOSPC), failpoint.Fault(syscall.EMFILE), failpoint.Fault(syscall.ENOMEM),
		// What Go does not try again where a call is not made by its own packages.
		failpoint.Fault(syscall.EINTR), failpoint.Fault(syscall.EAGAIN),
	}
	turn := 0
	s.over(func(_ scenario, step, _ failpoint.Step) []failpoint.Fault {
		switch {
		case step.Stage == failpoint.Done:
			return nil
		case *all:
			return errnos
		}
		turn++
		return errnos[turn%len(errnos):][:1]
	}, s.failed)
	t.Logf("a step failed in %d passages of %d scenarios", s.passages, s.ran)
}

// failed has a step fail in a scenario.
func (c *cradle) failed(ctx context.Context, sc scenario, at failpoint.Passage, fault failpoint.Fault) error {
	if sc.slow {
		return nil
	}
	w, acted, err := c.play(ctx, sc, faults{at: fault})
	if w != nil {
		defer w.end()
	}
	if err != nil {
		return err
	}
	came := done
	if acted != nil || sc.opens { // where nobody is told
		came = failed
	}
	if !w.life.Passed(at) {
		if w.leave(); !w.life.Passed(at) { // by which alone it gets there, maybe
			return errors.Join(errMissed, acted)
		}
	}
	if w.Manager == nil {
		err = w.open(nil)
	}
	if err == nil {
		err = w.judge(ctx, sc, came)
	}
	if err != nil {
		return fmt.Errorf("%w\nit answered: %v\n%s", err, acted, w.log)
	}
	return nil
}
