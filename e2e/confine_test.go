package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What limits VMs works with control groups of version 2 as well, on a host that
// systemd runs: a VM is one.
func TestControlGroupsOfVersion2(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	binary := filepath.Join(t.TempDir(), "limits")
	build := exec.Command("go", "test", "-c", "-o", binary, "../qemu/cgroup")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.CommandContext(deadline(t), install.program, "cp", binary, vm+":/root/limits").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// As the daemon's unit has it.
	said := sh(t, c, vm, `stat -f -c %T /sys/fs/cgroup; systemd-run --wait --pipe --quiet -p CPUWeight=100 -p MemoryAccounting=yes \
		-p TasksAccounting=yes -p IOAccounting=yes /root/limits -test.v`)
	if !strings.HasPrefix(said, "cgroup2fs\n") || strings.Contains(said, "SKIP") || strings.Count(said, "--- PASS") < 5 {
		t.Errorf("it says:\n%s", said)
	}
}
