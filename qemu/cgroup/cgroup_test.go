package cgroup_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/internal/thread"
	"github.com/coppice-vm/coppice/qemu/cgroup"
)

// The test binary is also what is limited: it takes more than it may have.
func TestMain(m *testing.M) {
	switch os.Getenv("CGROUP_TEST") {
	case "memory":
		b := make([]byte, 256<<20)
		for at := 0; at < len(b); at += 4096 {
			b[at] = 1
		}
	case "pids":
		for range 64 {
			if err := exec.Command("/bin/sleep", "60").Start(); err != nil {
				fmt.Println(err)
				os.Exit(3)
			}
		}
	case "cpu":
		var spinning sync.WaitGroup
		for range 4 {
			spinning.Go(func() {
				for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
				}
			})
		}
		spinning.Wait()
	default:
		os.Exit(m.Run())
	}
}

var limits = cgroup.Limits{CPUs: 1, MemoryBytes: 64 << 20, Tasks: 24}

// group makes a group that goes with the test, within limits.
func group(t *testing.T, controller string) []string {
	t.Helper()
	return groupWithin(t, controller, limits)
}

func groupWithin(t *testing.T, controller string, l cgroup.Limits) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	host, err := cgroup.Find(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !host.Has(controller) {
		t.Skip("this host cannot limit ", controller)
	}
	dirs := host.Dirs(fmt.Sprintf("coppice-test-%d-%s", os.Getpid(), controller))
	l.Device = t.TempDir()
	if err := cgroup.Make(dirs, l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cgroup.Remove(dirs); err != nil {
			t.Error(err)
		}
		for _, dir := range dirs {
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is left (%v)", dir, err)
			}
		}
	})
	return dirs
}

// run runs the test binary in a group, and returns how it ended.
func run(t *testing.T, dirs []string, what string) (state *os.ProcessState) {
	t.Helper()
	err := thread.Run(func() error {
		v2, err := cgroup.Join(dirs)
		if err != nil {
			return err
		}
		defer v2.Close()
		p, err := os.StartProcess("/proc/self/exe", []string{"limited"}, &os.ProcAttr{
			Env: []string{"CGROUP_TEST=" + what}, Files: []*os.File{nil, os.Stdout, os.Stderr},
			Sys: &syscall.SysProcAttr{UseCgroupFD: v2 != nil, CgroupFD: int(v2.Fd()), Setpgid: true},
		})
		if err != nil {
			return err
		}
		state, err = p.Wait()
		unix.Kill(-p.Pid, unix.SIGKILL) // what it has started
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestMemory(t *testing.T) {
	state := run(t, group(t, "memory"), "memory")
	if status := state.Sys().(syscall.WaitStatus); status.Signal() != unix.SIGKILL {
		t.Errorf("it took more memory than it may have: %v", state)
	}
}

func TestTasks(t *testing.T) {
	if state := run(t, group(t, "pids"), "pids"); state.ExitCode() != 3 {
		t.Errorf("it started more than it may: %v", state)
	}
}

func TestCPU(t *testing.T) {
	state := run(t, group(t, "cpu"), "cpu")
	if used := state.UserTime() + state.SystemTime(); used > 2500*time.Millisecond {
		t.Errorf("it took %v of CPU time in 2 s, and may have one CPU", used)
	}
}

// What is limited in bytes a second is a disk's, where the file system says
// which it is on, until the limit is lifted.
func TestIO(t *testing.T) {
	l := limits
	l.IOBytes = 12345678
	dirs := groupWithin(t, "io", l)
	rules := func() (rules string) {
		for _, dir := range dirs {
			for _, name := range []string{"blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device", "io.max"} {
				b, _ := os.ReadFile(dir + "/" + name)
				rules += string(b)
			}
		}
		return rules
	}
	var st unix.Stat_t
	if err := unix.Stat(t.TempDir(), &st); err != nil {
		t.Fatal(err)
	}
	if unix.Major(st.Dev) == 0 {
		t.Skip("the temporary directory's file system does not say which disk it is on")
	}
	if n := strings.Count(rules(), "12345678"); n != 2 {
		t.Errorf("the rules are %q", rules())
	}
	l.IOBytes, l.Device = 0, t.TempDir()
	if err := cgroup.Set(dirs, l); err != nil {
		t.Fatal(err)
	}
	if got := rules(); got != "" {
		t.Errorf("the rules were lifted; there are %q", got)
	}
}

// A limit that cannot be set does not cost the others.
func TestSetWhatCan(t *testing.T) {
	dirs := group(t, "pids")
	l := limits
	l.Tasks, l.Device = 5, "/not/there"
	if err := cgroup.Set(dirs, l); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a disk that is not there: %v", err)
	}
	for _, dir := range dirs {
		if b, err := os.ReadFile(dir + "/pids.max"); err == nil && strings.TrimSpace(string(b)) != "5" {
			t.Errorf("pids.max is %s", b)
		}
	}
}

func TestMakeFails(t *testing.T) {
	dirs := group(t, "pids")
	if err := cgroup.Make(dirs, limits); err == nil {
		t.Error("a group was made twice")
	}
	if err := cgroup.Make([]string{"/not/there"}, limits); err == nil {
		t.Error("a group was made nowhere")
	}
}
