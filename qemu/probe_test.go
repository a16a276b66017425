package qemu_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
	"github.com/coppice-vm/coppice/qemu"
)

// trial returns a trial with a stand-in for QEMU, a script that knows its version.
func trial(t *testing.T, script string) qemu.Trial {
	t.Helper()
	if _, err := os.Stat("/dev/kvm"); err != nil {
		t.Skip("without /dev/kvm there is nothing to try: ", err)
	}
	dir := reflinktest.Dir(t)
	binary, disk := filepath.Join(dir, "qemu"), filepath.Join(dir, "image.disk")
	script = "#!/bin/sh\nif [ \"$1\" = --version ]; then echo QEMU 1.0; exit; fi\n" + script
	if err := os.WriteFile(binary, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	sparse(t, disk, 1<<20)
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	return qemu.Trial{
		Binary: binary, Image: coppice.Image{ID: "image", Disk: disk, DiskMiB: 1},
		StatePath: filepath.Join(dir, "kvm.json"), Scratch: scratch,
		Timeout: 300 * time.Millisecond, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func TestFallBack(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"aborts", "echo 'cannot set the MSR' >&2; kill -ABRT $$", "QEMU was ended by SIGABRT: cannot set the MSR"},
		{"fails", "echo 'no KVM here' >&2; exit 1", "QEMU exited with status 1: no KVM here"},
		{"hangs", "exec sleep 600", "no sign of life in 300ms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := trial(t, tt.script)
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
	tr := trial(t, "echo tried >> \"$(dirname \"$0\")\"/tries; exit 1")
	tries := func() int {
		b, _ := os.ReadFile(filepath.Join(filepath.Dir(tr.Binary), "tries"))
		return strings.Count(string(b), "\n")
	}
	probe := func() {
		t.Helper()
		if accel, _, err := qemu.Probe(t.Context(), tr); err != nil || accel != qemu.TCG {
			t.Fatalf("got %q, %v", accel, err)
		}
	}
	for range 2 {
		probe()
	}
	if n := tries(); n != 1 {
		t.Errorf("%d trials for two probes, want 1", n)
	}
	tr.Image.ID = "another"
	probe()
	if n := tries(); n != 2 {
		t.Errorf("%d trials after a probe for another image, want 2", n)
	}
	if err := os.WriteFile(tr.StatePath, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	probe()
	if n := tries(); n != 3 {
		t.Errorf("%d trials after the memory was damaged, want 3", n)
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
	hypervisor := qemu.New(qemu.Config{RunDir: filepath.Join(h.dir, "run"), Accel: accel, Log: slog.Default()})
	defer hypervisor.Close()
	m := h.boot()
	r, err := hypervisor.Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Kill(t.Context()); err != nil {
		t.Error(err)
	}
}
