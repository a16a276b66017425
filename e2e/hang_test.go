package e2e

import (
	"errors"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// A QEMU that hangs keeps nothing else waiting for good: what needs it ends with
// an error that says so, and what does not need it works. When it goes on, so
// does its VM, as it was.
func TestQEMUHangs(t *testing.T) {
	c := connect(t)
	parent := create(t, c)
	sh(t, c, parent, "echo in memory >/dev/shm/note")
	forks := fork(t, c, parent, 5)
	var all sync.WaitGroup
	hung := func(vm string, ask func() error, check func(t *testing.T, err error)) {
		pid := qemu(t, vm)
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			began := time.Now()
			err := ask()
			t.Logf("%v, %v", time.Since(began), err)
			_ = unix.Kill(pid, unix.SIGCONT) // it may be gone
			check(t, err)
		})
	}
	goesOn := func(vm string) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			if _, coded := errors.AsType[*coppice.Error](err); !coded {
				t.Errorf("what needs QEMU ended with %v", err)
			}
			if got := sh(t, c, vm, "cat /dev/shm/note"); got != "in memory\n" {
				t.Errorf("the VM says %q", got)
			}
		}
	}
	hung(forks[0], func() error { return suspendVM(t, c, forks[0]) }, goesOn(forks[0]))
	hung(forks[1], func() error { return forkVM(t, c, forks[1]) }, goesOn(forks[1]))
	hung(forks[2], func() error {
		_, err := c.ExecAwait(deadline(t), forks[2], coppice.ExecSpec{Command: "true", Timeout: 5 * time.Second})
		return err
	}, goesOn(forks[2]))
	works := func(t *testing.T, err error) {
		if err != nil {
			t.Error(err)
		}
	}
	hung(forks[3], func() error { _, err := c.Stop(deadline(t), forks[3]); return err }, works)
	hung(forks[4], func() error { _, err := c.Delete(deadline(t), forks[4]); return err }, works)
	all.Wait()
	awaitState(t, c, forks[3], api.Stopped)
}
