package ptrace

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// While a thread runs a system call that was not in its program, its registers
// are not its own, and the caller could be killed before it puts them back. So
// the call is made from code that returns, to code that restores all registers
// from the frame of a signal: the kernel's own way back, left ready in memory.

// frameSize is what a frame has room for: the processor's state grows with its
// generations.
const frameSize = 64 << 10

// The kernel's struct rt_sigframe, as far as it is read back, and where a
// frame's parts lie.
type sigframe struct {
	returnTo uint64 // struct ucontext follows
	flags    uint64
	_        uint64
	stack    struct{ sp, flags, size uint64 }
	regs     struct {
		r8, r9, r10, r11, r12, r13, r14, r15     uint64
		di, si, bp, bx, dx, ax, cx, sp, ip, flag uint64
		cs, gs, fs, ss                           uint16
		_                                        [4]uint64
		extended                                 uint64
		_                                        [8]uint64
	}
	mask uint64
}

const (
	frameAt    = 0
	extendedAt = 1 << 10 // where the rest of the processor's state is; aligned to 64
)

// frame returns what restores regs, the thread's signal mask and the rest of
// the state of its processor, when it lies at address.
func frame(pid int, regs unix.PtraceRegs, restorer, address uint64) ([]byte, error) {
	b := make([]byte, frameSize)
	f := (*sigframe)(unsafe.Pointer(&b[frameAt]))
	f.returnTo = restorer
	const extendedState, stackSegment, strictly = 1, 2, 4
	f.flags = extendedState | stackSegment | strictly
	f.stack.flags = 0xff // no such stack: the thread keeps its own for signals
	r := &f.regs
	r.r8, r.r9, r.r10, r.r11 = regs.R8, regs.R9, regs.R10, regs.R11
	r.r12, r.r13, r.r14, r.r15 = regs.R12, regs.R13, regs.R14, regs.R15
	r.di, r.si, r.bp, r.bx = regs.Rdi, regs.Rsi, regs.Rbp, regs.Rbx
	r.dx, r.ax, r.cx, r.sp = regs.Rdx, regs.Rax, regs.Rcx, regs.Rsp
	r.ip, r.flag = regs.Rip, regs.Eflags
	r.cs, r.ss = uint16(regs.Cs), uint16(regs.Ss)
	r.extended = address + extendedAt
	if err := getMask(pid, &f.mask); err != nil {
		return nil, fmt.Errorf("read the signal mask: %w", err)
	}
	n, err := getExtended(pid, b[extendedAt:])
	if err != nil {
		return nil, fmt.Errorf("read the processor's state: %w", err)
	}
	return b[:extendedAt+n], nil
}

func getMask(pid int, mask *uint64) error {
	return ptrace(unix.PTRACE_GETSIGMASK, pid, unsafe.Sizeof(*mask), unsafe.Pointer(mask))
}

// getExtended reads the state that the general registers are not part of, in
// the form that signal frames have it.
func getExtended(pid int, b []byte) (int, error) {
	const (
		xstate     = 0x202 // NT_X86_XSTATE
		software   = 464   // of the area, for the kernel's use
		magicBegin = 0x46505853
		magicEnd   = 0x46505845
	)
	iov := unix.Iovec{Base: &b[0], Len: uint64(len(b) - 8)} // of units of 8, and room for the end
	if err := ptrace(unix.PTRACE_GETREGSET, pid, xstate, unsafe.Pointer(&iov)); err != nil {
		return 0, err
	}
	size := int(iov.Len)
	features := binary.NativeEndian.Uint64(b[software:])
	binary.NativeEndian.PutUint32(b[software:], magicBegin)
	binary.NativeEndian.PutUint32(b[software+4:], uint32(size)+4)
	binary.NativeEndian.PutUint64(b[software+8:], features)
	binary.NativeEndian.PutUint32(b[software+16:], uint32(size))
	binary.NativeEndian.PutUint32(b[size:], magicEnd)
	return size + 4, nil
}

func ptrace(request, pid int, address uintptr, data unsafe.Pointer) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), address, uintptr(data), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
