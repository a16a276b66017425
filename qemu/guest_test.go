package qemu_test

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/examguest"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
	"github.com/coppice-vm/coppice/qemu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A host is a directory for VMs, and the image they boot.
type host struct {
	t     *testing.T
	dir   string
	image coppice.Image
}

func newHost(t *testing.T) *host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	h := &host{t: t, dir: reflinktest.Dir(t)}
	h.image = testImage(t, h.dir)
	return h
}

// open returns a hypervisor of the host, as each daemon makes its own.
func (h *host) open() *qemu.Hypervisor {
	h.t.Helper()
	hypervisor := qemu.New(qemu.Config{RunDir: filepath.Join(h.dir, "run"), Log: slog.New(slog.NewTextHandler(h.t.Output(), nil))})
	h.t.Cleanup(hypervisor.Close)
	return hypervisor
}

var size = coppice.Size{VCPUs: 1, MemoryMiB: 256, DiskMiB: 64}

// boot returns a machine that boots, of a new VM.
func (h *host) boot() coppice.Machine {
	h.t.Helper()
	id := coppice.NewVMID()
	m := coppice.Machine{
		VM: id, Instance: coppice.NewInstanceID(), Size: size, Boot: &h.image,
		Disk: filepath.Join(h.dir, string(id)+".disk"), Memory: filepath.Join(h.dir, string(id)+".memory"),
	}
	sparse(h.t, m.Disk, size.DiskMiB<<20)
	sparse(h.t, m.Memory, size.MemoryMiB<<20)
	return m
}

func sparse(t *testing.T, name string, size int64) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

// testImage puts together an image whose process 1 is testguest.
func testImage(t *testing.T, dir string) coppice.Image {
	t.Helper()
	bases, _ := filepath.Glob("/var/cache/coppice/base-*")
	if len(bases) == 0 {
		t.Skip("no base image")
	}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, "init"), "./internal/testguest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	init, err := os.ReadFile(filepath.Join(dir, "init"))
	if err != nil {
		t.Fatal(err)
	}
	drivers, err := os.ReadFile(filepath.Join(bases[0], "drivers.cpio"))
	if err != nil {
		t.Fatal(err)
	}
	initrd := filepath.Join(dir, "initrd")
	if err := os.WriteFile(initrd, append(cpio(init), drivers...), 0o600); err != nil {
		t.Fatal(err)
	}
	return coppice.Image{
		ID: "testguest", Kernel: filepath.Join(bases[0], "vmlinux"), Initrd: initrd,
		Cmdline: "console=ttyS0 quiet panic=-1 reboot=t mitigations=off random.trust_cpu=on",
	}
}

// ask sends one request to a guest that was just connected to.
func ask(ctx context.Context, t *testing.T, r coppice.Run, verb, arg string) string {
	t.Helper()
	conn, err := r.DialAgent(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	result, err := examguest.Ask(ctx, conn, verb, arg)
	if err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
	return result
}

func TestBoot(t *testing.T) {
	h := newHost(t)
	hv := h.open()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	m := h.boot()
	r, err := hv.Start(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Kill(context.Background())
	t0 := time.Now()
	ask(ctx, t, r, "keep", "hello")
	t.Log("guest", time.Since(t0))
	t.Log(ask(ctx, t, r, "kept", ""))
	ask(ctx, t, r, "write", "content")
	dst := coppice.CaptureFiles{Memory: filepath.Join(h.dir, "c.mem"), State: filepath.Join(h.dir, "c.state"), Disk: filepath.Join(h.dir, "c.disk")}
	for i := range 3 {
		stats, err := r.Capture(ctx, dst, coppice.LeaveRunning)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", stats)
		if i < 2 {
			os.Remove(dst.Memory)
			os.Remove(dst.Disk)
			os.Remove(dst.State)
		}
	}
	ask(ctx, t, r, "keep", "parent")
	m2 := m
	m2.VM, m2.Instance, m2.Boot, m2.State, m2.Disk, m2.Memory = coppice.NewVMID(), coppice.NewInstanceID(), nil, dst.State, dst.Disk, dst.Memory
	t0 = time.Now()
	r2, err := hv.Start(ctx, m2)
	t.Log("restore", time.Since(t0))
	if err != nil {
		t.Fatal(err)
	}
	defer r2.Kill(context.Background())
	t.Log("child", ask(ctx, t, r2, "kept", ""), ask(ctx, t, r2, "read", ""), "parent", ask(ctx, t, r, "kept", ""))
	for i, verb := range []string{"poweroff"} {
		_ = i
		conn, _ := r.DialAgent(ctx)
		examguest.Ask(ctx, conn, verb, "")
		conn.Close()
		t.Log(r.Wait(ctx))
		conn, _ = r2.DialAgent(ctx)
		examguest.Ask(ctx, conn, "panic", "")
		conn.Close()
		t.Log(r2.Wait(ctx))
	}
	b, _ := hv.Console(ctx, m.VM)
	t.Logf("%s", b)
	b, _ = hv.Console(ctx, m2.VM)
	t.Logf("%s", b)
}
