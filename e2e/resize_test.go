package e2e

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

// sizeInside returns what a VM has as its own programs see it: CPUs, whether
// memory is about so many MiB, GiB of the root file system. The file /root/kept
// is there, too.
func sizeInside(t *testing.T, c *client.Client, vm string, memoryMiB string) string {
	t.Helper()
	out := sh(t, c, vm, `nproc; awk '/MemTotal/ {m = $2 / 1024; print (m > `+memoryMiB+` * 0.8 && m < `+memoryMiB+`) ? "about `+memoryMiB+`" : m}' /proc/meminfo
		df --output=size -BG / | tail -1; cat /root/kept`)
	return strings.Join(strings.Fields(out), " ")
}

// A VM that is resized has that size inside, too, with its files, and so do its
// forks; one that is stopped has it when it is started.
func TestResize(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	sh(t, c, vm, "echo kept >/root/kept; echo in memory >/dev/shm/note")
	setLimits(t, "--vm-storage", "19G")
	_, err := c.Resize(deadline(t), vm, api.ResizeVM{RootfsSizeGb: new(20.0)})
	if e, ok := errors.AsType[*coppice.Error](err); !ok || e.Code != coppice.CodeRootfsOverPlan || e.Fields["limit"] != 19.0*1024 || e.Fields["current"] != 16.0*1024 {
		t.Errorf("a resize beyond the account's limits: %v", err)
	}
	setLimits(t, "--vm-storage", "1T")
	if _, err := c.Resize(deadline(t), vm, api.ResizeVM{VCPUCount: new(2), MemSizeGb: new(0.5), RootfsSizeGb: new(20.0)}); err != nil {
		t.Fatal(err)
	}
	if got := sizeInside(t, c, vm, "512"); got != "2 about 512 20G kept" {
		t.Errorf("resized: %s", got)
	}
	if got := sh(t, c, vm, "ls /dev/shm; dmesg | grep -ci 'EXT4-fs.*recover' || true"); got != "0\n" {
		t.Errorf("memory is kept, or the file system was not left clean: %q", got)
	}
	child := fork(t, c, vm, 1)[0]
	if got := sizeInside(t, c, child, "512"); got != "2 about 512 20G kept" {
		t.Errorf("the fork of a resized VM: %s", got)
	}
	remove(t, c, child)

	if _, err := c.Stop(deadline(t), vm); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resize(deadline(t), vm, api.ResizeVM{VCPUCount: new(1), MemSizeGb: new(2.0), RootfsSizeGb: new(24.0)}); err != nil {
		t.Fatal(err)
	}
	if info := awaitState(t, c, vm, api.Stopped); info.Sizing != (api.Sizing{VCPUCount: 1, MemSizeMiB: 2048, RootfsSizeMB: 24 << 10}) {
		t.Errorf("resized in place: %+v", info)
	}
	if _, err := c.Start(deadline(t), vm, api.StartVM{}); err != nil {
		t.Fatal(err)
	}
	if got := sizeInside(t, c, vm, "2048"); got != "1 about 2048 24G kept" {
		t.Errorf("resized in place and started: %s", got)
	}
}

// Where the host has no memory left for VMs to start with, they are refused, and
// those that run go on.
func TestMemoryIsShort(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	t.Setenv("COPPICE_MEMORY_RESERVE", "100T")
	restartDaemon(t) // which is told something else
	_, createErr := c.Create(deadline(t), api.CreateVM{})
	_, forkErr := c.Fork(deadline(t), vm, api.ForkVM{})
	for what, err := range map[string]error{"create": createErr, "fork": forkErr} {
		if coppice.CodeOf(err) != coppice.CodeNoMemory {
			t.Errorf("%s: %v", what, err)
		}
	}
	sh(t, c, vm, "true")
	doctor, err := exec.CommandContext(deadline(t), install.program, "doctor").CombinedOutput()
	if err != nil || !strings.Contains(string(doctor), "0M are left: for 0 more VMs") {
		t.Errorf("the doctor says (%v):\n%s", err, doctor)
	}
	os.Unsetenv("COPPICE_MEMORY_RESERVE")
	restartDaemon(t)
	fork(t, c, vm, 1)
}

// setLimits changes the limits of the tests' account, while the daemon runs.
func setLimits(t *testing.T, flags ...string) {
	t.Helper()
	set := exec.CommandContext(deadline(t), install.program, append([]string{"limits", "set"}, flags...)...)
	if out, err := set.CombinedOutput(); err != nil {
		t.Fatalf("limits set %v: %v\n%s", flags, err, out)
	}
}

// The daemon is killed while it resizes, before and after the VM is down: the
// next one ends what it began.
func TestDaemonKilledWhileResizing(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	sh(t, c, vm, "echo kept >/root/kept")
	for _, at := range []struct {
		name   string
		disk   float64
		reach  func(before int)
		inside string
	}{
		{"shutting down", 20, func(int) { time.Sleep(100 * time.Millisecond) }, "1 about 1024 20G kept"}, // no event tells
		{"booting", 24, func(before int) { awaitOtherProcess(t, vm, before) }, "1 about 1024 24G kept"},
	} {
		before := qemu(t, vm)
		go c.Resize(deadline(t), vm, api.ResizeVM{RootfsSizeGb: &at.disk}) // cut off
		at.reach(before)
		kill(t, daemon(t))
		restartDaemon(t)
		if got := sizeInside(t, c, vm, "1024"); got != at.inside {
			t.Errorf("killed while it was %s: %s", at.name, got)
		}
		if info := awaitState(t, c, vm, api.Running); info.Sizing.RootfsSizeMB != int64(at.disk)<<10 {
			t.Errorf("killed while it was %s: %+v", at.name, info)
		}
	}
}

// awaitOtherProcess waits until another process than one that was runs a VM.
func awaitOtherProcess(t *testing.T, vm string, before int) {
	t.Helper()
	ctx := deadline(t)
	for {
		if now := processOf(vm); now != 0 && now != before {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("no other process came")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
