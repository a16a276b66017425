package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// nameTag begins the first argument of every QEMU of ours; the run directory follows.
const nameTag = "coppice-vm:"

// A process is a QEMU, held by a descriptor, so that its number cannot come to
// mean another.
type process struct {
	pid  int
	fd   *os.File      // a pidfd, in the runtime's poller
	gone chan struct{} // closed when the process is gone
	idle chan struct{} // closed when nobody watches it any more
	// ending says how a process that is gone ended.
	ending func() string
}

// spawn starts a QEMU that outlives the daemon. files become its descriptors
// 3, 4 and so on; log its standard output and error.
func spawn(binary string, args []string, log *os.File, files ...*os.File) (*process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	var pidfd int
	p, err := os.StartProcess(binary, args, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{}, // the daemon's may hold secrets
		Files: append([]*os.File{null, log, log}, files...),
		Sys:   &unix.SysProcAttr{Setsid: true, PidFD: &pidfd},
	})
	if err != nil {
		return nil, err
	}
	defer p.Release()
	return hold(p.Pid, pidfd), nil
}

// hold watches the process behind pidfd, which it owns from then on.
func hold(pid, pidfd int) *process {
	unix.SetNonblock(pidfd, true) // what makes NewFile use the poller
	p := &process{
		pid:  pid,
		fd:   os.NewFile(uintptr(pidfd), fmt.Sprintf("pidfd of %d", pid)),
		gone: make(chan struct{}),
		idle: make(chan struct{}),
	}
	p.ending = sync.OnceValue(p.reap) // once: the number may be another child's the next time
	go p.watch()
	return p
}

// watch closes gone when the process is gone. It takes no thread and waits
// for no child: a thread in wait4 would steal the stops of a traced process.
func (p *process) watch() {
	defer close(p.idle)
	conn, err := p.fd.SyscallConn()
	if err != nil {
		return
	}
	err = conn.Read(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, 0)
		return err == nil && n == 1
	})
	if err == nil {
		close(p.gone)
	}
}

// kill ends the process and returns when it is gone. Its I/O is settled then.
func (p *process) kill(ctx context.Context) error {
	conn, err := p.fd.SyscallConn()
	if err != nil {
		return err
	}
	control := conn.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
	if err := errors.Join(control, err); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.pid, err)
	}
	select {
	case <-p.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("process %d does not end: %w", p.pid, context.Cause(ctx))
	}
}

// isGone reports whether the process is gone.
func (p *process) isGone() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// reap collects a process that is gone, if it was our child, and says how it
// ended. Of a stranger's child nothing is known.
func (p *process) reap() string {
	var status unix.WaitStatus
	pid, err := unix.Wait4(p.pid, &status, unix.WNOHANG, nil)
	switch {
	case err != nil || pid != p.pid:
		return "ended"
	case status.Signaled():
		return fmt.Sprintf("was ended by %s", unix.SignalName(status.Signal()))
	default:
		return fmt.Sprintf("exited with status %d", status.ExitStatus())
	}
}

// release lets go of the process, whatever it is doing.
func (p *process) release() {
	p.fd.Close()
	<-p.idle
}

// findProcesses returns the processes of the run directories below runDir, by
// the directory's name. There may be two of one: QEMU and its frozen copy.
func findProcesses(runDir string) (map[string][]int, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	found := map[string][]int{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if dir, ok := runName(runDir, pid); ok {
			found[dir] = append(found[dir], pid)
		}
	}
	return found, nil
}

// openProcess holds the process with that number if it is the QEMU of the run
// directory of that name, and returns nil if it is not, or not any more.
func openProcess(runDir, name string, pid int) (*process, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	// What the number means is asked again now that it cannot change.
	if dir, ok := runName(runDir, pid); !ok || dir != name {
		unix.Close(pidfd)
		return nil, nil
	}
	return hold(pid, pidfd), nil
}

// runName returns the name of the run directory below runDir that a process belongs to.
func runName(runDir string, pid int) (string, bool) {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "", false
	}
	first, _, _ := bytes.Cut(cmdline, []byte{0})
	return strings.CutPrefix(string(first), nameTag+runDir+"/")
}
