package ptrace

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A tracee is a thread that this thread has stopped.
type tracee struct {
	pid  int
	code code
	regs unix.PtraceRegs // to go on with
	// stack is where a call returns to regs by itself; 0 before protect.
	stack uint64
	held  []unix.Signal // arrived while it was stopped
	child int           // the process that it has cloned, if it has
}

// attach stops the main thread of a process.
func attach(pid int, code code) (*tracee, error) {
	if err := unix.PtraceSeize(pid); err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	t := &tracee{pid: pid, code: code}
	err := unix.PtraceInterrupt(pid)
	if err == nil {
		// QEMU forbids itself to clone; that is suspended while it is traced.
		err = t.stopped(unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_SUSPEND_SECCOMP)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("stop: %w", err), Check(os.Getpid()), unix.PtraceDetach(pid))
	}
	restart(&t.regs)
	return t, nil
}

// stopped waits until the thread has stopped of itself, and takes note of where.
func (t *tracee) stopped(options int) error {
	for {
		status, err := t.wait()
		if err != nil {
			return err
		}
		if event(status) == unix.PTRACE_EVENT_STOP {
			break
		}
		// It stopped to be given a signal, and has it before it stops again.
		if err := unix.PtraceCont(t.pid, int(status.StopSignal())); err != nil {
			return err
		}
	}
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return err
	}
	return unix.PtraceGetRegs(t.pid, &t.regs)
}

// wait returns how the thread stopped.
func (t *tracee) wait() (status unix.WaitStatus, err error) {
	for {
		_, err := unix.Wait4(t.pid, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case !status.Stopped():
			return 0, errors.New("the process ended")
		}
		return status, nil
	}
}

// event returns what a thread reports by stopping, which is 0 if it is a signal.
func event(status unix.WaitStatus) int { return int(status >> 16) }

// What the kernel marks a system call with that it has broken off for a signal.
const (
	restartSys     unix.Errno = 512
	restartNoIntr  unix.Errno = 513
	restartNoHand  unix.Errno = 514
	restartByBlock unix.Errno = 516
)

// restart prepares registers for going on. If the thread was in a system call,
// the kernel has marked it for a restart that will not happen after others
// were made: so it is restarted here, or ends as if by a signal.
func restart(regs *unix.PtraceRegs) {
	const syscallLen = 2
	if int64(regs.Orig_rax) < 0 {
		return // it was in user code
	}
	switch unix.Errno(-int64(regs.Rax)) {
	case restartSys, restartNoIntr, restartNoHand:
		regs.Rax = regs.Orig_rax
		regs.Rip -= syscallLen
	case restartByBlock:
		regs.Rax = ^uint64(unix.EINTR) + 1
	}
	regs.Orig_rax = ^uint64(0)
}

// protect lets the thread find its way back from calls without our help, by
// means of a frame at an address of its memory.
func (t *tracee) protect(address uint64) error {
	b, err := frame(t.pid, t.regs, t.code.restorer, address)
	if err != nil {
		return err
	}
	if err := write(t.pid, address, b); err != nil {
		return fmt.Errorf("prepare the way back: %w", err)
	}
	t.stack = address
	return nil
}

// write writes to the memory of a process.
func write(pid int, address uint64, b []byte) error {
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	remote := []unix.RemoteIovec{{Base: uintptr(address), Len: len(b)}}
	if n, err := unix.ProcessVMWritev(pid, local, remote, 0); err != nil || n != len(b) {
		return fmt.Errorf("write %d bytes of %d to process %d: %w", n, len(b), pid, err)
	}
	return nil
}

// call has the thread make a system call, again if a signal that came kept the
// kernel from it.
func (t *tracee) call(number uint64, args ...uint64) (uint64, error) {
	for {
		result, err := t.callOnce(number, args...)
		if err != restartNoIntr {
			return result, err
		}
	}
}

func (t *tracee) callOnce(number uint64, args ...uint64) (uint64, error) {
	regs := t.regs
	regs.Rip, regs.Rax = t.code.enter, number
	if t.stack != 0 {
		regs.Rsp = t.stack
	}
	for i, reg := range []*uint64{&regs.Rdi, &regs.Rsi, &regs.Rdx, &regs.R10, &regs.R8, &regs.R9}[:len(args)] {
		*reg = args[i]
	}
	if err := unix.PtraceSetRegs(t.pid, &regs); err != nil {
		return 0, err
	}
	for range 2 { // to where it enters the kernel, and to where it leaves
		if err := t.toBoundary(); err != nil {
			return 0, err
		}
	}
	if err := unix.PtraceGetRegs(t.pid, &regs); err != nil {
		return 0, err
	}
	if result := int64(regs.Rax); result < 0 && result > -4096 {
		return 0, unix.Errno(-result)
	}
	return regs.Rax, nil
}

func (t *tracee) madvise(area Area, advice uint64) error {
	if _, err := t.call(unix.SYS_MADVISE, area.Start, area.End-area.Start, advice); err != nil {
		return fmt.Errorf("advise on %x to %x: %w", area.Start, area.End, err)
	}
	return nil
}

// toBoundary lets the thread run until it enters the kernel for a system call
// or leaves it.
func (t *tracee) toBoundary() error {
	for {
		if err := unix.PtraceSyscall(t.pid, 0); err != nil {
			return err
		}
		status, err := t.wait()
		if err != nil {
			return err
		}
		const boundary = unix.SIGTRAP | 0x80
		switch signal := status.StopSignal(); {
		case signal == boundary:
			return nil
		case event(status) == unix.PTRACE_EVENT_FORK:
			child, err := unix.PtraceGetEventMsg(t.pid)
			if err != nil {
				return err
			}
			t.child = int(child)
		case event(status) != 0: // somebody stops the process: it stops when it is let go
		case signal == unix.SIGSEGV:
			return errors.New("the system call faulted")
		default:
			t.held = append(t.held, signal)
		}
	}
}

// detach lets the thread go on where it was stopped.
func (t *tracee) detach() error {
	err := unix.PtraceSetRegs(t.pid, &t.regs)
	err = errors.Join(err, unix.PtraceDetach(t.pid))
	for _, signal := range t.held {
		err = errors.Join(err, unix.Tgkill(t.pid, t.pid, signal))
	}
	if err != nil {
		return fmt.Errorf("let go: %w", err)
	}
	return nil
}
