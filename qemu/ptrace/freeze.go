package ptrace

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// A Freezer makes frozen copies of one process, which goes on where it was also
// if the caller is killed in the middle of that. It may be used by one goroutine
// at a time.
type Freezer struct {
	pid  int
	code code
	// scratch is the address of frameSize bytes in the process that it does not use.
	scratch uint64
}

// NewFreezer prepares a process for being copied: its copies have the area keep,
// even if the process had said they should not, and little else. It may be
// called again for the same process, also by another caller; each call takes a
// few pages of the process's address space.
func NewFreezer(pid int, keep Area) (*Freezer, error) {
	f := &Freezer{pid: pid}
	found, big, err := survey(pid)
	if err == nil {
		f.code = found
		err = f.prepare(keep, slices.DeleteFunc(big, keep.overlaps))
	}
	if err != nil {
		return nil, fmt.Errorf("prepare process %d for copying: %w", pid, err)
	}
	return f, nil
}

// prepare has the process tell the kernel what its copies have and have not.
func (f *Freezer) prepare(keep Area, rest []Area) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t, err := attach(f.pid, f.code)
	if err != nil {
		return err
	}
	f.scratch, err = t.call(unix.SYS_MMAP, 0, frameSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0)
	if err == nil {
		err = t.protect(f.scratch)
	}
	if err == nil {
		err = t.madvise(keep, unix.MADV_DOFORK)
	}
	for _, area := range rest {
		if err == nil {
			err = t.madvise(area, unix.MADV_DONTFORK)
		}
	}
	return errors.Join(err, t.detach())
}

// A Copy is a frozen copy of a process: a second process with the same memory,
// copied on write by the kernel, that never executes anything. It is there to be
// read, and does not hold up the first.
//
// It can never run as a second instance of the original. It is born stopped,
// with a stack that is nowhere, so it dies at its first step; and when the
// thread that made it ends, it is killed.
//
// Until it is released it keeps the
// files of the process open, and their locks.
type Copy struct {
	// PID is its process id, good for /proc and process_vm_readv.
	PID     int
	release chan struct{}
	done    chan error
}

// Freeze makes a copy of the process as it is now. The process is held up for
// as long as the kernel takes to share its pages.
func (f *Freezer) Freeze() (*Copy, error) {
	c := &Copy{release: make(chan struct{}), done: make(chan error, 1)}
	frozen := make(chan error)
	// The thread that made the copy is the only one that has power over it, and
	// the copy dies with it: so one thread does all.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.make(f)
		frozen <- err
		if err != nil {
			return
		}
		err = c.hold()
		<-c.release
		c.done <- errors.Join(err, end(c.PID))
	}()
	if err := <-frozen; err != nil {
		return nil, fmt.Errorf("freeze process %d: %w", f.pid, err)
	}
	return c, nil
}

// Release ends the copy. It is called once.
func (c *Copy) Release() error {
	close(c.release)
	return <-c.done
}

// nowhere is an address that nothing is mapped at.
const nowhere = 16

// make has the process clone itself.
func (c *Copy) make(f *Freezer) error {
	t, err := attach(f.pid, f.code)
	if err != nil {
		return err
	}
	if err = t.protect(f.scratch); err == nil {
		// The copy is a sibling: the process does not learn of it.
		_, err = t.call(unix.SYS_CLONE, unix.CLONE_PARENT|uint64(unix.SIGCHLD), nowhere)
	}
	err = errors.Join(err, t.detach())
	c.PID = t.child
	switch {
	case err != nil && c.PID != 0:
		return errors.Join(err, end(c.PID))
	case err == nil && c.PID == 0:
		return errors.New("no copy was made")
	}
	return err
}

// hold makes the copy, which was born stopped, die with this thread.
func (c *Copy) hold() error {
	t := &tracee{pid: c.PID}
	if err := t.stopped(unix.PTRACE_O_EXITKILL); err != nil {
		return fmt.Errorf("hold on to the copy: %w", err)
	}
	return nil
}

// end ends a copy.
func end(pid int) error {
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("end the copy: %w", err)
	}
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(pid, &status, unix.WALL, nil)
		if err == unix.EINTR || err == nil && status.Stopped() {
			continue
		}
		return err
	}
}
