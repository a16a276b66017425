// Package freeze makes frozen copies of a running process: a second process
// with the same memory, copied on write by the kernel, that never executes
// anything. It is there to be read, and does not hold up the first.
//
// The process is made to clone itself. Its main thread is stopped by ptrace,
// runs one system call that was not in its program, and goes on where it was.
// Only one thing can go wrong: if the caller's process is killed in the
// microseconds between, the thread goes on with the wrong registers.
//
// A copy can never run as a second instance of the original. It is born
// stopped, with a stack that is nowhere, so it dies at its first step; and when
// the process that made it ends, it is killed.
//
// No other thread of the caller may wait for any child whatever, or for one of
// these processes: it would get what the tracing thread waits for.
package freeze

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// An Area is a range of addresses.
type Area struct{ Start, End uint64 }

// A Freezer makes copies of one process. It may be used by one goroutine at a time.
type Freezer struct {
	pid int
	// gate is the address of a system call instruction in the process.
	gate uint64
}

// bigMapping is the size from which a mapping is worth leaving out of copies.
const bigMapping = 1 << 20

// New prepares a process for being copied: its copies have the area keep, even
// if the process had said they should not, and little else. It may be called
// again for the same process, also by another caller.
func New(pid int, keep Area) (*Freezer, error) {
	f := &Freezer{pid: pid}
	rest, err := f.survey(keep)
	if err != nil {
		return nil, err
	}
	if err := f.advise(keep, rest); err != nil {
		return nil, fmt.Errorf("prepare process %d for copying: %w", pid, err)
	}
	return f, nil
}

// advise has the process tell the kernel what its copies have and have not.
func (f *Freezer) advise(keep Area, rest []Area) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t, err := attach(f.pid, f.gate)
	if err != nil {
		return err
	}
	err = t.madvise(keep, unix.MADV_DOFORK)
	for _, area := range rest {
		err = errors.Join(err, t.madvise(area, unix.MADV_DONTFORK))
	}
	return errors.Join(err, t.detach())
}

// survey finds the gate, and the big mappings that a copy does not need: every
// page of them costs time when the process is copied.
func (f *Freezer) survey(keep Area) (rest []Area, err error) {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", f.pid))
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var area Area
		var perms string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &area.Start, &area.End, &perms); err != nil {
			continue
		}
		switch {
		case strings.HasSuffix(lines.Text(), "[vdso]"):
			if f.gate, err = findGate(f.pid, area); err != nil {
				return nil, err
			}
		case area.Start < keep.End && area.End > keep.Start:
		case area.End-area.Start >= bigMapping && strings.HasPrefix(perms, "rw") && strings.HasSuffix(perms, "p"):
			rest = append(rest, area)
		}
	}
	if f.gate == 0 {
		return nil, fmt.Errorf("process %d has no code to enter the kernel by", f.pid)
	}
	return rest, nil
}

// findGate returns the address of a system call instruction in an area of code.
func findGate(pid int, code Area) (uint64, error) {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return 0, err
	}
	defer memory.Close()
	b := make([]byte, code.End-code.Start)
	if _, err := memory.ReadAt(b, int64(code.Start)); err != nil {
		return 0, err
	}
	at := bytes.Index(b, []byte{0x0f, 0x05})
	if at < 0 {
		return 0, nil
	}
	return code.Start + uint64(at), nil
}

// A Copy is a frozen copy of a process. Until it is released it keeps the
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
	t, err := attach(f.pid, f.gate)
	if err != nil {
		return err
	}
	// The copy is a sibling: the process does not learn of it.
	_, err = t.syscall(unix.SYS_CLONE, unix.CLONE_PARENT|uint64(unix.SIGCHLD), nowhere)
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
