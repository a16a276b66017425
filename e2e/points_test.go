package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/failpoint"
	"github.com/coppice-vm/coppice/internal/host"
)

var deaths = flag.Int("deaths", 8, "at how many points a daemon with real VMs dies; others every day")

// A death is of a daemon, in the middle of something that it is doing.
type death struct {
	verb, point string
	before, ask func(t *testing.T, c *client.Client, vm string) error
	states      []api.State // that the VM may be in afterwards
}

var allDeaths = []death{
	{"suspend", "Captures.InsertCapture/done", nil, suspendVM, []api.State{api.Running}},
	{"suspend", "Run.Capture/done", nil, suspendVM, []api.State{api.Running}},
	{"suspend", "Pool.SyncCapture/done", nil, suspendVM, []api.State{api.Running}},
	{"suspend", "qemu/capture/halted", nil, suspendVM, []api.State{api.Running}},
	{"suspend", "qemu/capture/secured", nil, suspendVM, []api.State{api.Running}},
	{"suspend", "qemu/kill/gone", nil, suspendVM, []api.State{api.Suspended}},
	{"suspend", "hostnet/tear-down/emptied", nil, suspendVM, []api.State{api.Suspended}},
	{"suspend", "Run.Kill", nil, suspendVM, []api.State{api.Suspended}},
	{"suspend", "Network.TearDown", nil, suspendVM, []api.State{api.Suspended}},
	{"resume", "Hypervisor.Discard/done", suspendVM, startVM, []api.State{api.Running}},
	{"resume", "Network.SetUp/done", suspendVM, startVM, []api.State{api.Running}},
	{"resume", "hostnet/make/furnished", suspendVM, startVM, []api.State{api.Running}},
	{"resume", "hostnet/make/kept", suspendVM, startVM, []api.State{api.Running}},
	{"resume", "qemu/launch/recorded", suspendVM, startVM, []api.State{api.Running}},
	{"resume", "qemu/launch/grouped", suspendVM, startVM, []api.State{api.Running}},
	{"resume", "qemu/start/connected", suspendVM, startVM, []api.State{api.Running}},
	{"resume", "qemu/fill/amended", suspendVM, startVM, []api.State{api.Running}},
	{"resume", "qemu/fill/mapped", suspendVM, startVM, []api.State{api.Running}},
	{"resume", "qemu/fill/loaded", suspendVM, startVM, []api.State{api.Running}},
	{"resume", "Hypervisor.Start/done", suspendVM, startVM, []api.State{api.Running}},
	{"resume", "Guest.Connect/done", suspendVM, startVM, []api.State{api.Running}},
	{"snapshot", "Run.Capture/done", nil, snapshotVM, []api.State{api.Running}},
	{"snapshot", "Captures.UpdateCapture", nil, snapshotVM, []api.State{api.Running}},
	{"fork", "qemu/capture/secured", nil, forkVM, []api.State{api.Running}},
	{"fork", "qemu/fill/mapped", nil, forkVM, []api.State{api.Running}},
	{"egress", "hostnet/put/linked", closeEgress, openEgress, []api.State{api.Running}},
	{"fork", "Pool.CommitCapture/done", nil, forkVM, []api.State{api.Running}},
	{"fork", "Store.InsertVM/done", nil, forkVM, []api.State{api.Running}},
	{"fork", "Guest.Connect/done", nil, forkVM, []api.State{api.Running}},
}

func suspendVM(t *testing.T, c *client.Client, vm string) error {
	_, err := c.Suspend(deadline(t), vm)
	return err
}

func startVM(t *testing.T, c *client.Client, vm string) error {
	_, err := c.Start(deadline(t), vm, api.StartVM{})
	return err
}

func snapshotVM(t *testing.T, c *client.Client, vm string) error {
	taken, err := c.TakeSnapshot(deadline(t), vm, api.TakeSnapshot{})
	if err != nil {
		return err
	}
	_, err = c.DeleteSnapshot(deadline(t), taken.SnapshotID)
	return err
}

func forkVM(t *testing.T, c *client.Client, vm string) error {
	_, err := c.Fork(deadline(t), vm, api.ForkVM{Count: new(1)})
	return err
}

// openEgress lets a VM reach an address that nobody has.
func openEgress(t *testing.T, c *client.Client, vm string) error {
	_, err := c.SetNetwork(deadline(t), vm, api.SetNetwork{Egress: new("192.0.2.1/32")})
	return err
}

func closeEgress(t *testing.T, c *client.Client, vm string) error {
	_, err := c.SetNetwork(deadline(t), vm, api.SetNetwork{Egress: new("closed")})
	return err
}

// The daemon dies at points between two side effects. The next one has the VM in a
// state that the table allows, with its memory, its processes and its disk, has
// the host in order, and does what was asked when it is asked again.
func TestDaemonDiesAtPoints(t *testing.T) {
	orders, restore := tagged(t)
	defer restore()
	c := connect(t)
	others := vmIDs(t, c)
	vm := create(t, c)
	sh(t, c, vm, `head -c 1M /dev/urandom >/root/blob; sha256sum /root/blob >/root/sum; sync; echo in memory >/dev/shm/note
		(n=0; while sleep 0.1; do n=$((n+1)); echo $n >/dev/shm/new; mv /dev/shm/new /dev/shm/count; done) >/dev/null 2>&1 &`)
	intact := func(t *testing.T) {
		t.Helper()
		script := "cat /dev/shm/note; sha256sum --quiet -c /root/sum && echo whole; a=$(cat /dev/shm/count); sleep 1; test $(cat /dev/shm/count) -gt $a && echo counting"
		if got := sh(t, c, vm, script); got != "in memory\nwhole\ncounting\n" {
			t.Errorf("the VM says %q", got)
		}
	}
	first := time.Now().YearDay() * *deaths
	for i := range min(*deaths, len(allDeaths)) {
		d := allDeaths[(first+i)%len(allDeaths)]
		t.Run(d.verb+" at "+strings.ReplaceAll(d.point, "/", " "), func(t *testing.T) {
			if d.before != nil {
				if err := d.before(t, c, vm); err != nil {
					t.Fatal(err)
				}
			}
			pid := daemon(t)
			if err := os.WriteFile(orders, []byte(d.point+"=kill"), 0o600); err != nil {
				t.Fatal(err)
			}
			answer := d.ask(t, c, vm)
			awaitDeath(t, pid)
			restartDaemon(t)
			settled := func() bool {
				now, err := c.VM(deadline(t), vm)
				return err == nil && slices.Contains(d.states, now.State)
			}
			for end := time.Now().Add(callDeadline); !settled(); time.Sleep(100 * time.Millisecond) {
				if time.Now().After(end) {
					now, err := c.VM(deadline(t), vm)
					t.Fatalf("the VM is %s (%s), %v; it can be %v. Before it was answered %v", now.State, now.Reason, err, d.states, answer)
				}
			}
			intact(t)
			if d.before != nil {
				if err := d.before(t, c, vm); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.ask(t, c, vm); err != nil {
				t.Errorf("asked again: %v", err)
			}
			intact(t)
			for _, id := range vmIDs(t, c) {
				if id != vm && !slices.Contains(others, id) {
					remove(t, c, id)
				}
			}
			wantFound(t, "at the end", doctorAudits(t), nil)
		})
	}
}

// tagged replaces the daemon, until restore is called, by one of a program that
// has points, and returns the file that has it die.
func tagged(t *testing.T) (orders string, restore func()) {
	t.Helper()
	dir, program := t.TempDir(), install.program
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "failpoints", "-o", filepath.Join(dir, "coppice"), "../cmd/coppice")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if err := os.Link(filepath.Join(filepath.Dir(program), "coppice-agent"), filepath.Join(dir, "coppice-agent")); err != nil {
		t.Fatal(err)
	}
	orders = filepath.Join(dir, "orders")
	killDaemon(t)
	install.program = filepath.Join(dir, "coppice")
	os.Setenv(failpoint.Env, "@"+orders)
	restartDaemon(t)
	return orders, func() {
		killDaemon(t)
		install.program = program
		os.Unsetenv(failpoint.Env)
		restartDaemon(t)
	}
}

// awaitDeath waits until a daemon that is to die has.
func awaitDeath(t *testing.T, pid int) {
	t.Helper()
	await(t, "the daemon has come to the point and died", func() bool {
		p, err := install.data.Daemon()
		return errors.Is(err, host.ErrNoDaemon) || err == nil && p.PID != pid
	})
}

// QEMU dies while the daemon is at points between two side effects. What was
// asked for ends, the VM is in a state that the table allows, and starts with its
// disk as it was.
func TestQEMUDiesAtPoints(t *testing.T) {
	orders, restore := tagged(t)
	defer restore()
	c := connect(t)
	others := vmIDs(t, c)
	vm := create(t, c)
	sh(t, c, vm, `head -c 1M /dev/urandom >/root/blob; sha256sum /root/blob >/root/sum; sync`)
	first := time.Now().YearDay() * *deaths
	for i := range min(*deaths, len(allDeaths)) {
		d := allDeaths[(first+i)%len(allDeaths)]
		t.Run(d.verb+" at "+strings.ReplaceAll(d.point, "/", " "), func(t *testing.T) {
			if d.before != nil {
				if err := d.before(t, c, vm); err != nil {
					t.Fatal(err)
				}
			}
			pid := daemon(t)
			if err := os.WriteFile(orders, []byte(d.point+"=stop"), 0o600); err != nil {
				t.Fatal(err)
			}
			answer := make(chan error, 1)
			go func() { answer <- d.ask(t, c, vm) }()
			await(t, "the daemon stands still at the point", func() bool { return standsStill(pid) })
			var err error
			victim := processOf(vm)
			if victim != 0 {
				err = unix.Kill(victim, unix.SIGKILL) // while it is traced it may not be gone before the daemon goes on
			}
			if err := errors.Join(err, unix.Kill(pid, unix.SIGCONT)); err != nil {
				t.Fatal(err)
			}
			err = <-answer
			if err != nil && (coppice.CodeOf(err) == "" || coppice.CodeOf(err) == coppice.CodeInternal) {
				t.Errorf("it was answered %v", err)
			}
			// What follows from the death may be still to be done, or not even known.
			var got string
			await(t, "the VM works again", func() bool {
				if startVM(t, c, vm) != nil {
					return false
				}
				result, err := c.ExecAwait(deadline(t), vm, coppice.ExecSpec{Command: "sha256sum --quiet -c /root/sum && echo whole"})
				got = result.Stdout
				return err == nil
			})
			if got != "whole\n" {
				t.Errorf("its disk is %q", got)
			}
			for _, id := range vmIDs(t, c) {
				if id != vm && !slices.Contains(others, id) {
					remove(t, c, id)
				}
			}
			wantFound(t, "at the end", doctorAudits(t), nil)
			t.Logf("QEMU %d; answered %v", victim, err)
		})
	}
}

// standsStill reports whether a process is stopped.
func standsStill(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Contains(string(stat), ") T ")
}

// Every point that only a daemon with real VMs passes is in the table.
func TestEveryRealPointHasADeath(t *testing.T) {
	sources, err := filepath.Glob("../*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	points := 0
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range regexp.MustCompile(`failpoint\.New\("((?:qemu|hostnet)/[^"]+)"\)`).FindAllStringSubmatch(string(text), -1) {
			points++
			if !slices.ContainsFunc(allDeaths, func(d death) bool { return d.point == declared[1] }) {
				t.Errorf("%s: no daemon dies at %s", source, declared[1])
			}
		}
	}
	t.Logf("daemons die at %d of %d points that are in adapters of real VMs, and at %d altogether", points, points, len(allDeaths))
	if points == 0 {
		t.Error("there are none")
	}
}
