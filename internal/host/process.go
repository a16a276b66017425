package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is one process for ever: a pid comes again, a pid with its start
// time and the boot of the host does not.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after the host's boot
	Boot  string `json:"boot"`  // the kernel's boot id
	Exe   string `json:"exe"`
	// Args is the command line after the program's name.
	Args []string `json:"args"`
}

// BootID identifies the boot of the host.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// inspect describes a process that is there now.
func inspect(pid int) (Process, error) {
	p := Process{PID: pid}
	stat, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return p, err
	}
	// The name in parentheses may hold anything; what follows the last one is plain.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return p, fmt.Errorf("process %d: cannot read its start time", pid)
	}
	if p.Start, err = strconv.ParseUint(fields[19], 10, 64); err != nil {
		return p, fmt.Errorf("process %d: cannot read its start time: %w", pid, err)
	}
	if p.Boot, err = BootID(); err != nil {
		return p, err
	}
	if p.Exe, err = os.Readlink(procFile(pid, "exe")); err != nil {
		return p, err
	}
	cmdline, err := os.ReadFile(procFile(pid, "cmdline"))
	if err != nil {
		return p, err
	}
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	p.Args = args[1:]
	return p, nil
}

// Inherited reports whether the variables of the environment whose names begin with
// prefix are for the process what they are for this one, and so for what it starts.
// Services of systemd get none from here: for them it is so anyway.
func (p Process) Inherited(prefix string) (bool, error) {
	if booted() {
		return true, nil
	}
	environ, err := os.ReadFile(procFile(p.PID, "environ"))
	if err != nil {
		return false, err
	}
	of := func(all []string) []string {
		var some []string
		for _, v := range all {
			if strings.HasPrefix(v, prefix) {
				some = append(some, v)
			}
		}
		slices.Sort(some)
		return some
	}
	return slices.Equal(of(strings.Split(string(environ), "\x00")), of(os.Environ())), nil
}

func procFile(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

// Runs reports whether the process executes the program in the file exe as it
// is now: not one that was replaced since.
func (p Process) Runs(exe string) (bool, error) {
	running := procFile(p.PID, "exe")
	a, err := os.Stat(running)
	if err != nil {
		return false, err
	}
	b, err := os.Stat(exe)
	if err != nil {
		return false, err
	}
	if os.SameFile(a, b) || a.Size() != b.Size() {
		return os.SameFile(a, b), nil
	}
	sumA, err := sum(running)
	if err != nil {
		return false, err
	}
	sumB, err := sum(exe)
	return err == nil && bytes.Equal(sumA, sumB), err
}

func sum(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), err
}

// Stop asks the process to end, ends it if it has not when ctx ends, and returns
// when it is gone. killed says that it had to be. It does nothing to another
// process that has got the same pid.
func (p Process) Stop(ctx context.Context) (killed bool, err error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	// From here on fd is one process for ever; is it ours?
	if now, err := inspect(p.PID); err != nil || now.Start != p.Start || now.Boot != p.Boot {
		return false, nil
	}
	if err := signalPidfd(fd, unix.SIGTERM); err != nil {
		return false, fmt.Errorf("process %d: %w", p.PID, err)
	}
	if waitPidfd(ctx, fd) == nil {
		return false, nil
	}
	if err := signalPidfd(fd, unix.SIGKILL); err != nil {
		return false, fmt.Errorf("process %d: %w", p.PID, err)
	}
	return true, waitPidfd(context.WithoutCancel(ctx), fd)
}

// signalPidfd is nil, too, if the process is gone.
func signalPidfd(fd int, signal unix.Signal) error {
	err := unix.PidfdSendSignal(fd, signal, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// waitPidfd returns when the process of fd has ended, or with ctx's error.
func waitPidfd(ctx context.Context, fd int) error {
	const slice = 100 * time.Millisecond // how late ctx may be noticed
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(slice.Milliseconds()))
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
