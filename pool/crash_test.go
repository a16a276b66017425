package pool_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
	"github.com/coppice-vm/coppice/pool"
)

// churnEnv makes the test binary work in the pool it names until it is killed.
const churnEnv = "COPPICE_TEST_POOL_CHURN"

var size = coppice.Size{DiskMiB: 2, MemoryMiB: 3}

// churn makes and removes VMs and captures for ever, and prints a line for each.
func churn(dir string) {
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	p, err := pool.Open(dir, discard)
	fail(err)
	image, err := p.Image(ctx, "image")
	fail(err)
	for {
		vm, capture := coppice.NewVMID(), coppice.NewCaptureID()
		_, err := p.CreateVM(ctx, vm, image.Disk, size)
		fail(err)
		_, err = p.CreateVM(ctx, vm, image.Disk, size)
		fail(err)
		fail(p.SyncVM(ctx, vm))
		dst, err := p.BeginCapture(ctx, capture)
		fail(err)
		fail(p.Clone(ctx, dst.Disk, p.VM(vm).Disk))
		fail(p.Clone(ctx, dst.Memory, p.VM(vm).Memory))
		fail(os.WriteFile(dst.State, []byte("state"), 0o600))
		_, err = p.CommitCapture(ctx, capture)
		fail(err)
		if rand.N(2) == 0 {
			fail(p.RemoveVM(ctx, vm))
			fail(p.RemoveCapture(ctx, capture))
		}
		fmt.Println(vm)
	}
}

func TestKilledInTheMiddle(t *testing.T) {
	dir := reflinktest.Dir(t)
	p := open(t, dir)
	install(t, p, "image")
	p.Close()
	for _, lines := range []int{1, 3, 10, 30} {
		churnAndKill(t, dir, lines)
		p := open(t, dir)
		if left := names(t, dir, "tmp"); len(left) > 0 {
			t.Errorf("left under tmp: %v", left)
		}
		vms, err := p.VMs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range vms {
			wantSize(t, p.VM(id).Disk, 2<<20)
			wantSize(t, p.VM(id).Memory, 3<<20)
		}
		captures, err := p.Captures(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range captures {
			wantSize(t, p.Capture(id).Disk, 2<<20)
			wantSize(t, p.Capture(id).Memory, 3<<20)
			wantSize(t, p.Capture(id).State, int64(len("state")))
		}
		if len(vms) != len(names(t, dir, "vms")) || len(captures) != len(names(t, dir, "captures")) {
			t.Error("there are directories that are no VM's and no capture's")
		}
		p.Close()
	}
}

func churnAndKill(t *testing.T, dir string, lines int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), churnEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for scanner := bufio.NewScanner(out); lines > 0; lines-- {
		if !scanner.Scan() {
			t.Fatalf("it ended by itself, %d lines early", lines)
		}
	}
}

func wantSize(t *testing.T, name string, size int64) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Error(err)
	} else if info.Size() != size {
		t.Errorf("%s has %d bytes, want %d", name, info.Size(), size)
	}
}

// TestPowerCut stops a file system dead, as a power cut would: what was only
// in memory, its journal included, is gone. What was acknowledged must be there.
func TestPowerCut(t *testing.T) {
	ctx, dir := t.Context(), ensured(t)
	p := open(t, dir)
	image := install(t, p, "image")
	vm, capture, begun := coppice.NewVMID(), coppice.NewCaptureID(), coppice.NewCaptureID()
	if _, err := p.CreateVM(ctx, vm, image.Disk, size); err != nil {
		t.Fatal(err)
	}
	if err := p.SyncVM(ctx, vm); err != nil {
		t.Fatal(err)
	}
	dst, err := p.BeginCapture(ctx, capture)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dst.Disk, dst.Memory, dst.State} {
		if err := os.WriteFile(name, []byte("captured "+filepath.Base(name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.CommitCapture(ctx, capture); err != nil {
		t.Fatal(err)
	}
	if err := p.SyncCapture(ctx, capture); err != nil {
		t.Fatal(err)
	}
	if _, err := p.BeginCapture(ctx, begun); err != nil {
		t.Fatal(err)
	}
	p.Close()
	cutPower(t, dir)
	ensure(t, dir)

	p = open(t, dir)
	if again, err := p.Image(ctx, "image"); err != nil || again != image {
		t.Errorf("image %+v, %v", again, err)
	}
	wantSize(t, p.VM(vm).Memory, 3<<20)
	for name, want := range map[string]string{
		image.Disk:                "the disk.raw",
		image.Kernel:              "the vmlinux",
		p.VM(vm).Disk:             "the disk.raw",
		p.Capture(capture).Disk:   "captured disk.raw",
		p.Capture(capture).Memory: "captured memory",
		p.Capture(capture).State:  "captured state",
	} {
		if got, err := os.ReadFile(name); err != nil || string(got[:min(len(want), len(got))]) != want {
			t.Errorf("%s holds %.20q, %v; want %q", name, got, err, want)
		}
	}
	if captures, err := p.Captures(ctx); err != nil || len(captures) != 1 {
		t.Errorf("captures %v, %v; want the one that was committed", captures, err)
	}
}

// cutPower shuts the file system of dir down without writing anything more.
func cutPower(t *testing.T, dir string) {
	t.Helper()
	const (
		shutdown   = 0x8004587d // XFS_IOC_GOINGDOWN, _IOR('X', 125, __u32)
		noLogFlush = 2
	)
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noLogFlush); err != nil {
		t.Fatal(err)
	}
}
