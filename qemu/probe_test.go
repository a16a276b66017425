package qemu_test

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
	"github.com/coppice-vm/coppice/qemu"
)

// trial returns a trial with a stand-in for QEMU, which does not work in one way.
func trial(t *testing.T, way string) qemu.Trial {
	t.Helper()
	if _, err := os.Stat("/dev/kvm"); err != nil {
		t.Skip("without /dev/kvm there is nothing to try: ", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := reflinktest.Dir(t)
	binary, disk := filepath.Join(dir, "qemu"), filepath.Join(dir, "image.disk")
	build := exec.Command("go", "build", "-ldflags=-s -w -X main.way="+way, "-o", binary, "./internal/standin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kernel, initrd := filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd")
	sparse(t, kernel, 0)
	sparse(t, initrd, 0)
	sparse(t, disk, 1<<20)
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	return qemu.Trial{
		Binary: binary, Image: coppice.Image{ID: "image", Disk: disk, DiskMiB: 1, Kernel: kernel, Initrd: initrd},
		StatePath: filepath.Join(dir, "kvm.json"), Scratch: scratch,
		Timeout: 300 * time.Millisecond, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func TestFallBack(t *testing.T) {
	tests := []struct{ way, want string }{
		{"crashes", "QEMU was ended by SIGSEGV: cannot set the MSR"},
		{"fails", "QEMU exited with status 1: no KVM here"},
		{"hangs", "no sign of life in 300ms"},
	}
	for _, tt := range tests {
		t.Run(tt.way, func(t *testing.T) {
			tr := trial(t, tt.way)
			accel, detail, err := qemu.Probe(t.Context(), tr)
			if err != nil || accel != qemu.TCG || !strings.Contains(detail, tt.want) {
				t.Errorf("got %q, %q, %v; want TCG because of %q", accel, detail, err, tt.want)
			}
			if left, err := os.ReadDir(tr.Scratch); err != nil || len(left) != 0 {
				t.Errorf("the trial left %v, %v", left, err)
			}
		})
	}
}

func TestProbeRemembers(t *testing.T) {
	tr := trial(t, "fails") // and says when
	probe := func() (detail string) {
		t.Helper()
		accel, detail, err := qemu.Probe(t.Context(), tr)
		if err != nil || accel != qemu.TCG {
			t.Fatalf("got %q, %v", accel, err)
		}
		return detail
	}
	first := probe()
	if again := probe(); again != first {
		t.Errorf("a second probe says %q, and the first said %q", again, first)
	}
	tr.Image.ID = "another"
	second := probe()
	if second == first {
		t.Errorf("a probe for another image says %q, as before", second)
	}
	if err := os.WriteFile(tr.StatePath, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if third := probe(); third == second {
		t.Errorf("a probe after the memory was damaged says %q, as before", third)
	}
}

// With the real QEMU, whatever it says of this host holds: a guest boots.
func TestProbe(t *testing.T) {
	h := newHost(t)
	h.image.Disk = filepath.Join(h.dir, "image.disk")
	sparse(t, h.image.Disk, 1<<20)
	accel, detail, err := qemu.Probe(t.Context(), qemu.Trial{
		Image: h.image, StatePath: filepath.Join(h.dir, "kvm.json"), Scratch: h.dir,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil || detail == "" {
		t.Fatalf("got %q, %q, %v", accel, detail, err)
	}
	t.Log(fmt.Sprint(accel), detail)
	if accel == qemu.TCG {
		return // what every other test here runs on
	}
	accelerated := h.config()
	accelerated.Accel = accel
	m := h.boot()
	r, err := h.openAs(accelerated).Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Kill(t.Context()); err != nil {
		t.Error(err)
	}
}
