package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/internal/mountinfo"
	"github.com/coppice-vm/coppice/qemu/jail"
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
func spawn(j jail.Jail, binary string, args []string, log *os.File, files ...*os.File) (*process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	pid, pidfd, err := j.Start(binary, args, append([]*os.File{null, log, log}, files...))
	if err != nil {
		return nil, err
	}
	return hold(pid, pidfd), nil
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

// processes returns the processes of the run directories, by the directory's
// name. There may be two of one: QEMU and its frozen copy.
func (h *Hypervisor) processes() (map[string][]int, error) {
	f, err := h.finder()
	if err != nil {
		return nil, err
	}
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
		if dir, ok := f.runName(pid); ok {
			found[dir] = append(found[dir], pid)
		}
	}
	return found, nil
}

// openProcesses holds the processes of a run directory, the oldest first.
func (h *Hypervisor) openProcesses(dir runDir) (procs []*process, err error) {
	found, err := h.processes()
	if err != nil {
		return nil, err
	}
	for _, pid := range found[dir.name()] {
		p, err := h.openProcess(dir, pid)
		if err != nil {
			for _, p := range procs {
				p.release()
			}
			return nil, err
		}
		if p != nil {
			procs = append(procs, p)
		}
	}
	return procs, nil
}

// openProcess holds the process with that number if it is one of the run
// directory, and returns nil if it is not, or not any more.
func (h *Hypervisor) openProcess(dir runDir, pid int) (*process, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	// What the number means is asked again now that it cannot change.
	f, err := h.finder()
	if err == nil {
		if name, ok := f.runName(pid); ok && name == dir.name() {
			return hold(pid, pidfd), nil
		}
	}
	unix.Close(pidfd)
	return nil, err
}

// A finder tells which run directory a process belongs to.
type finder struct {
	runDir string
	place  mountinfo.Place // of runDir
	users  Users
	owners map[int]string // names of run directories, by user
}

func (h *Hypervisor) finder() (f finder, err error) {
	f.runDir, f.users = h.runDir, h.users.Users
	if f.owners, err = h.users.owners(); err != nil {
		return f, err
	}
	f.place, err = mountinfo.Locate(h.runDir)
	return f, err
}

// runName returns the name of the run directory that a process belongs to. The
// console that is mounted in its jail says so: a process cannot change that, it
// was complete before the process became its user, and it is as well true of the
// process's frozen copies. Its user alone says nothing, which a VM of another
// data directory may have too. What an earlier build started without a jail
// has root for its user and says itself what it is.
func (f *finder) runName(pid int) (string, bool) {
	user, err := userOf(pid)
	if err != nil {
		return "", false
	}
	if user == 0 {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		first, _, _ := bytes.Cut(cmdline, []byte{0})
		name, ok := strings.CutPrefix(string(first), nameTag+f.runDir+"/")
		return name, ok && err == nil
	}
	if _, ok := f.owners[user]; !ok && !f.users.has(user) {
		return "", false
	}
	mounts, err := mountinfo.Of(pid)
	if err != nil {
		return "", false
	}
	for _, m := range mounts {
		rest, below := mountinfo.Below(f.place.Path, m.Path)
		if name, file := filepath.Split(rest); below && m.Device == f.place.Device && name != "" && file == consoleFile {
			return filepath.Clean(name), true
		}
	}
	return "", false
}

// userOf returns the real user of a process that is more than a name: one is
// not that has ended and was not buried yet.
func userOf(pid int) (user int, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	field := func(name string) (value string) {
		_, rest, _ := strings.Cut(string(status), "\n"+name+":\t")
		fmt.Sscan(rest, &value)
		return value
	}
	// Only its main thread may have ended: then there are more.
	if field("State") == "Z" && field("Threads") == "1" {
		return 0, unix.ESRCH
	}
	return strconv.Atoi(field("Uid"))
}
