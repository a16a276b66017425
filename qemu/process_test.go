package qemu

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/qemu/cgroup"
	"github.com/coppice-vm/coppice/qemu/jail"
)

// The test binary is also what stands for a QEMU.
func init() {
	switch os.Args[0] {
	case "headless": // its other threads go on
		unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	case "idler":
		unix.Pause()
	}
}

// A stead is a host's run directory, and who looks after it.
type stead struct {
	*Hypervisor
	t *testing.T
}

func newStead(t *testing.T) stead {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	return stead{New(Config{RunDir: filepath.Join(t.TempDir(), "run of mine"), Log: slog.New(slog.DiscardHandler)}), t}
}

// reserve makes the run directory of a new VM that has this user; 0 is whichever.
func (s stead) reserve(user int) (coppice.VMID, runDir) {
	s.t.Helper()
	id := coppice.NewVMID()
	dir, err := s.dir(id)
	if err == nil {
		err = os.MkdirAll(string(dir), 0o700)
	}
	if err == nil && user != 0 {
		err = os.Symlink(fmt.Sprint(user), dir.user())
	} else if err == nil {
		_, err = s.users.of(dir)
	}
	if err == nil {
		err = os.WriteFile(dir.console(), nil, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return id, dir
}

// jail starts the test binary as the process of a run, until the end of the test.
func (s stead) jail(dir runDir, as string) (pid int) {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	user, err := dir.readUser()
	if err != nil {
		s.t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer null.Close()
	j := jail.Jail{User: user, Dir: string(dir), System: append([]string{exe}, systemFiles...), Write: []string{dir.console()}}
	pid, fd, err := j.Start(exe, []string{as}, []*os.File{null, null, null})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		unix.Wait4(pid, nil, 0, nil)
		unix.Close(fd)
	})
	return pid
}

func (s stead) wantRuns(when string, want ...coppice.VMID) {
	s.t.Helper()
	got, err := s.Runs(s.t.Context())
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		s.t.Errorf("%s its VMs with processes are %v (%v), want %v", when, got, err, want)
	}
}

// awaitState waits until the main thread of a process is in a state.
func awaitState(t *testing.T, pid int, state string) {
	t.Helper()
	for t.Context().Err() == nil {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(status), "\nState:\t"+state) {
			return
		}
	}
}

// A process is a VM's if it is in a jail that was made for that VM in this data
// directory, whatever its user, its arguments and its threads are.
func TestWhoseProcess(t *testing.T) {
	ours, others := newStead(t), newStead(t)
	id, dir := ours.reserve(0)
	user, err := dir.readUser()
	if err != nil {
		t.Fatal(err)
	}
	alien, alienDir := others.reserve(user)

	pretender := exec.Command("sleep", "600")
	pretender.Args[0] = nameTag + string(dir)
	pretender.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}}
	if err := pretender.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { pretender.Process.Kill(); pretender.Wait() }()
	neighbour := others.jail(alienDir, "idler")
	ours.wantRuns("with processes of others that have the same user")
	others.wantRuns("with one of its own", alien)
	if err := ours.Discard(t.Context(), id); err != nil {
		t.Error(err)
	}
	for _, pid := range []int{pretender.Process.Pid, neighbour} {
		if _, err := userOf(pid); err != nil {
			t.Errorf("process %d was ended, which is somebody else's: %v", pid, err)
		}
	}

	headless := ours.jail(dir, "headless")
	awaitState(t, headless, "Z")
	lost, lostDir := ours.reserve(0)
	ours.jail(lostDir, "idler")
	if err := os.RemoveAll(string(lostDir)); err != nil {
		t.Fatal(err)
	}
	ours.wantRuns("with one whose main thread has ended, and one whose directory is lost", id, lost)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(ours.runDir, link); err != nil {
		t.Fatal(err)
	}
	byLink := stead{New(Config{RunDir: link, Log: ours.log}), t}
	byLink.wantRuns("by another name of its directory", id, lost)
	for _, vm := range []coppice.VMID{id, lost} {
		if err := byLink.Discard(t.Context(), vm); err != nil {
			t.Error(err)
		}
	}
	ours.wantRuns("after they have been discarded")
	others.wantRuns("at last", alien)
}

// What is left of a control group keeps the record of it: it is removed when that
// can be, and the next run has limits in any case.
func TestGroupIsBusy(t *testing.T) {
	s := newStead(t)
	id, dir := s.reserve(0)
	r := record{Machine: coppice.Machine{VM: id, Disk: dir.console(), Size: coppice.Size{VCPUs: 1, MemoryMiB: 64}}, Groups: s.groups(id)}
	if len(r.Groups) == 0 {
		t.Skip("this host has no control groups")
	}
	if err := errors.Join(dir.writeRecord(r), cgroup.Make(r.Groups, s.limits(r.Machine))); err != nil {
		t.Fatal(err)
	}
	guest := exec.Command("sleep", "600")
	if err := guest.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { guest.Process.Kill(); guest.Wait() }
	defer end()
	for _, group := range r.Groups {
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(fmt.Sprint(guest.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.Discard(t.Context(), id); !errors.Is(err, unix.EBUSY) {
			t.Errorf("a control group that has a process was removed: %v", err)
		}
		if _, err := dir.readRecord(); err != nil {
			t.Error(err)
		}
	}
	end()
	if err := cgroup.Make(r.Groups, s.limits(r.Machine)); err != nil {
		t.Errorf("a group that is left, and empty, is of no use: %v", err)
	}
	if err := errors.Join(s.Discard(t.Context(), id), s.RemoveConsole(t.Context(), id)); err != nil {
		t.Error(err)
	}
	for _, group := range r.Groups {
		if _, err := os.Stat(group); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left (%v)", group, err)
		}
	}
}
