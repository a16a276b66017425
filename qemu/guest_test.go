package qemu_test

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/image"
	"github.com/coppice-vm/coppice/internal/reflink"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
	"github.com/coppice-vm/coppice/qemu"
)

// The test binary is also a daemon that is killed.
func TestMain(m *testing.M) {
	if os.Getenv("QEMU_TEST") == "capturer" {
		capturer()
	}
	goleak.VerifyTestMain(m)
}

// A host is a directory for VMs, and the image they boot.
type host struct {
	t      *testing.T
	dir    string
	image  coppice.Image
	binary string // of QEMU; empty for the usual one
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
	return h.openAs(h.config())
}

// openAs is open for a hypervisor with another configuration.
func (h *host) openAs(c qemu.Config) *qemu.Hypervisor {
	hypervisor := qemu.New(c)
	h.t.Cleanup(hypervisor.Close)
	return hypervisor
}

// config is what the host's hypervisors are told.
func (h *host) config() qemu.Config {
	return qemu.Config{RunDir: filepath.Join(h.dir, "run"), Binary: h.binary, Tap: newTap, Log: slog.New(slog.NewTextHandler(h.t.Output(), nil))}
}

// newTap returns a new tap in a network namespace of its own, in which there is nothing else.
func newTap(coppice.VMID) (tap *os.File, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread goes
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return
		}
		if tap, err = os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
			return
		}
		var request *unix.Ifreq
		if request, err = unix.NewIfreq("tap"); err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
			err = unix.IoctlIfreq(int(tap.Fd()), unix.TUNSETIFF, request)
		}
	}()
	<-done
	return tap, err
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

// imageCache is where the base image is that is built for the real thing.
const imageCache = "/var/cache/coppice"

// testImage puts together an image whose process 1 is testguest, from the
// kernel and the drivers of the base image.
func testImage(t *testing.T, dir string) coppice.Image {
	t.Helper()
	builder := image.Builder{CacheDir: imageCache, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	base, err := builder.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	files := filepath.Join(imageCache, "base-"+base.Key)
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, "init"), "./internal/testguest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	init, err := os.ReadFile(filepath.Join(dir, "init"))
	if err != nil {
		t.Fatal(err)
	}
	drivers, err := os.ReadFile(filepath.Join(files, "drivers.cpio"))
	if err != nil {
		t.Fatal(err)
	}
	initrd := filepath.Join(dir, "initrd")
	if err := os.WriteFile(initrd, append(cpio(init), drivers...), 0o644); err != nil {
		t.Fatal(err)
	}
	return coppice.Image{
		ID: "testguest", Kernel: filepath.Join(files, "vmlinux"), Initrd: initrd,
		Cmdline: "console=ttyS0 quiet panic=-1 reboot=t mitigations=off random.trust_cpu=on",
	}
}

// restore returns a new VM that continues a capture of m.
func (h *host) restore(m coppice.Machine, c coppice.CaptureFiles) coppice.Machine {
	h.t.Helper()
	child := m
	child.VM, child.Instance = coppice.NewVMID(), coppice.NewInstanceID()
	child.Boot, child.State, child.Memory = nil, c.State, c.Memory
	child.Disk = filepath.Join(h.dir, string(child.VM)+".disk")
	if err := reflink.Clone(child.Disk, c.Disk); err != nil {
		h.t.Fatal(err)
	}
	return child
}

// refill makes a disk, in place, what a capture's is.
func (h *host) refill(disk string, c coppice.CaptureFiles) {
	h.t.Helper()
	dst, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	defer dst.Close()
	src, err := os.Open(c.Disk)
	if err != nil {
		h.t.Fatal(err)
	}
	defer src.Close()
	if err := reflink.CloneFile(dst, src); err != nil {
		h.t.Fatal(err)
	}
}

// seed boots a machine, and captures it when its memory holds "seed".
func (h *host) seed(hypervisor *qemu.Hypervisor) (booted coppice.Machine, seed coppice.CaptureFiles) {
	h.t.Helper()
	booted, seed = h.boot(), h.newCapture()
	r := start(h.t, hypervisor, booted)
	ask(h.t, r, "keep", "seed")
	if _, err := r.Capture(h.t.Context(), seed, coppice.LeaveRunning); err != nil {
		h.t.Fatal(err)
	}
	return booted, seed
}

// newCapture returns names for the files of a capture.
func (h *host) newCapture() coppice.CaptureFiles {
	prefix := filepath.Join(h.dir, string(coppice.NewCaptureID()))
	return coppice.CaptureFiles{Memory: prefix + ".memory", State: prefix + ".state", Disk: prefix + ".disk"}
}

// pids returns the processes of a VM.
func (h *host) pids(id coppice.VMID) (pids []int) {
	h.t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, name := range names {
		cmdline, _ := os.ReadFile(name)
		first, _, _ := strings.Cut(string(cmdline), "\x00")
		if strings.HasPrefix(first, "coppice-vm:"+h.dir) && strings.HasSuffix(first, "/"+string(id)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				h.t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// pid returns the process of a VM that has one.
func (h *host) pid(id coppice.VMID) int {
	h.t.Helper()
	pids := h.pids(id)
	if len(pids) != 1 {
		h.t.Fatalf("VM %s has processes %v, want one", id, pids)
	}
	return pids[0]
}
