package ptrace

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Freezer makes frozen copies of one process, which goes on where it was also
// if the caller is killed in the middle of that. It may be used by one goroutine
// at a time.
type Freezer struct {
	pid  int
	code code
	// scratch is the address of scratchSize bytes in the process that it does not
	// use: of a frame, and of an argument after it.
	scratch uint64
}

const (
	argumentSize = uint64(unsafe.Sizeof(argument{}))
	scratchSize  = frameSize + argumentSize
)

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
	f.scratch, err = t.call(unix.SYS_MMAP, 0, scratchSize, unix.PROT_READ|unix.PROT_WRITE,
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
	if err == nil {
		err = f.ignoreChildren(t)
	}
	return errors.Join(err, t.detach())
}

// ignoreChildren has the kernel bury the copies, which are children of the
// process: it would not, and does not learn of them.
func (f *Freezer) ignoreChildren(t *tracee) error {
	const ignore, wordSize = 1, 8               // SIG_IGN
	action, err := f.argument(argument{ignore}) // the kernel's struct sigaction begins with the handler
	if err != nil {
		return err
	}
	_, err = t.call(unix.SYS_RT_SIGACTION, uint64(unix.SIGCHLD), action, 0, wordSize)
	return err
}

// An argument is a structure of words that a system call takes.
type argument [8]uint64

// argument puts an argument into the process's memory, and returns where it is.
func (f *Freezer) argument(a argument) (address uint64, err error) {
	address = f.scratch + frameSize
	return address, write(f.pid, address, (*[argumentSize]byte)(unsafe.Pointer(&a))[:])
}

// A Copy is a frozen copy of a process: a second process with the same memory,
// copied on write by the kernel, that never executes anything. It is there to be
// read, and does not hold up the first.
//
// It can never run as a second instance of the original. It is born stopped,
// with a stack that is nowhere, so it dies at its first step; and when the
// thread that made it ends, it is killed.
//
// Until it is released it keeps the files of the process open, and their locks.
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

// clone has the process make a child; process 1 of a namespace may have no
// siblings. It is not the older system call: if the caller is killed when the
// process is about to make it, QEMU's own rules hold again, and for that one they
// are to be killed.
func (f *Freezer) clone(t *tracee) error {
	// struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls.
	args, err := f.argument(argument{4: uint64(unix.SIGCHLD), 5: nowhere, 6: nowhere})
	if err != nil {
		return err
	}
	_, err = t.call(unix.SYS_CLONE3, args, argumentSize)
	return err
}

// make has the process clone itself.
func (c *Copy) make(f *Freezer) error {
	t, err := attach(f.pid, f.code)
	if err != nil {
		return err
	}
	if err = t.protect(f.scratch); err == nil {
		err = f.clone(t)
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
