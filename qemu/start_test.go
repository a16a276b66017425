package qemu_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

// A start that fails says what QEMU said, and leaves what is the VM's for as long
// as it exists, its logs and its user, and nothing else.
func TestStartFails(t *testing.T) {
	h := newHost(t)
	hypervisor := h.open()
	garbage := filepath.Join(h.dir, "garbage")
	if err := os.WriteFile(garbage, []byte("this is no device state"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	endless := fmt.Sprintf("/proc/self/fd/%d", r.Fd())
	tests := []struct {
		name  string
		spoil func(*coppice.Machine)
		want  string
	}{
		{"no kernel", func(m *coppice.Machine) { m.Boot.Kernel = "/nowhere/vmlinux" }, "/nowhere/vmlinux: no such file"},
		{"no device state", func(m *coppice.Machine) { m.Boot, m.State = nil, garbage }, "QEMU exited with status 1: .*Not a migration stream"},
		{"a state that never ends", func(m *coppice.Machine) { m.Boot, m.State = nil, endless }, "waiting for the guest to run"},
		{"memory of another size", func(m *coppice.Machine) { m.Size.MemoryMiB *= 2 }, "the memory file .* has"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := h.boot()
			boot := *m.Boot
			m.Boot = &boot
			tt.spoil(&m)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, err := hypervisor.Start(ctx, m)
			if err == nil || !regexp.MustCompile(tt.want).MatchString(err.Error()) {
				t.Errorf("err = %v, want one like %q", err, tt.want)
			}
			if m.State == endless && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("err = %v, want a deadline", err)
			}
			if pids := h.pids(m.VM); len(pids) != 0 {
				t.Errorf("processes %v are left", pids)
			}
			left, err := os.ReadDir(filepath.Join(h.dir, "run", string(m.VM)))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			for _, f := range left {
				if f.Name() != "user" && !strings.HasSuffix(f.Name(), ".log") {
					t.Errorf("%s is left", f.Name())
				}
			}
		})
	}
}
