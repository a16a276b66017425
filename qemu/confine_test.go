package qemu_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/qemu"
)

// However a guest came to be running, the process that runs it has no rights and
// sees nothing that is not its own.
func TestConfinement(t *testing.T) {
	h := newHost(t)
	// A daemon may have been started with files open for its children.
	inherited, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer inherited.Close()
	if _, err := unix.FcntlInt(inherited.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	hypervisor := h.open()
	booted, seed := h.seed(hypervisor)
	restored := h.restore(booted, seed)
	ask(t, start(t, hypervisor, restored), "kept", "")
	prepared := h.boot()
	if err := hypervisor.Prepare(t.Context(), prepared); err != nil {
		t.Fatal(err)
	}

	users := map[string]coppice.VMID{}
	for name, m := range map[string]coppice.Machine{"booted": booted, "restored": restored, "prepared": prepared} {
		t.Run(name, func(t *testing.T) {
			pid := h.pid(m.VM)
			user := confined(t, pid)
			if other, taken := users[user]; taken {
				t.Errorf("it runs as the user of %s", other)
			}
			users[user] = m.VM
			h.seesItsOwn(t, m, pid, user)
			groups := h.limited(t, m, pid)
			if err := hypervisor.Discard(t.Context(), m.VM); err != nil {
				t.Error(err)
			}
			for _, dir := range groups {
				if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left (%v)", dir, err)
				}
			}
		})
	}
}

// confined checks what the kernel says of a process, and returns its user.
func confined(t *testing.T, pid int) (user string) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	none := "0000000000000000"
	for name, want := range map[string]string{
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
		"NoNewPrivs": "1", "Seccomp": "2", "Groups": "",
	} {
		if fields[name] != want {
			t.Errorf("%s is %q, want %q", name, fields[name], want)
		}
	}
	if adjusted, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid)); err != nil || strings.TrimSpace(string(adjusted)) != "200" {
		t.Errorf("its OOM score is adjusted by %s, %v", adjusted, err)
	}
	user, _, _ = strings.Cut(fields["Uid"], " ")
	same := strings.Join([]string{user, user, user, user}, " ")
	if len(user) != 10 || fields["Uid"] != same || fields["Gid"] != same {
		t.Errorf("its users are %s, its groups %s", fields["Uid"], fields["Gid"])
	}
	if ids := strings.Fields(fields["NSpid"]); len(ids) != 2 || ids[1] != "1" {
		t.Errorf("its process ids are %v", ids)
	}
	for _, kind := range []string{"mnt", "pid", "ipc", "uts", "net"} {
		ours, ourErr := os.Readlink("/proc/self/ns/" + kind)
		its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
		if err := errors.Join(ourErr, err); err != nil || its == ours {
			t.Errorf("its %s namespace is %s, ours is %s (%v)", kind, its, ours, err)
		}
	}
	return user
}

// seesItsOwn checks what files a VM's process sees, and whose they are.
func (h *host) seesItsOwn(t *testing.T, m coppice.Machine, pid int, user string) {
	t.Helper()
	console := filepath.Join(h.dir, "run", string(m.VM), "console.log")
	visible := []string{m.Disk, m.Memory, console}
	if m.Boot != nil {
		visible = append(visible, m.Boot.Kernel, m.Boot.Initrd)
	}
	root := fmt.Sprintf("/proc/%d/root", pid)
	err := filepath.WalkDir(root+"/", func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		switch name = strings.TrimPrefix(name, root); strings.SplitN(name, "/", 3)[1] {
		case "usr", "lib", "lib64", "etc", "dev":
			return nil
		}
		if !slices.Contains(visible, name) {
			t.Errorf("it sees %s", name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, name := range []string{m.Disk, console} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		owner := info.Sys().(*syscall.Stat_t).Uid
		if fmt.Sprint(owner) != user {
			t.Errorf("%s is user %d's, the process is %s's", name, owner, user)
		}
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(maps), m.Memory) {
		t.Errorf("it does not map %s", m.Memory)
	}
	h.holdsItsOwn(t, m, pid)
}

// holdsItsOwn checks what descriptors a VM's process has: files that it sees, its
// log, its sockets and its tap, and what is nowhere but in the kernel.
func (h *host) holdsItsOwn(t *testing.T, m coppice.Machine, pid int) {
	t.Helper()
	dir := filepath.Join(h.dir, "run", string(m.VM))
	own := []string{os.DevNull, filepath.Join(dir, "qemu.log"), filepath.Join(dir, "console.log"), m.Disk, m.Memory, "/dev/net/tun", "/dev/kvm"}
	sockets, err := os.ReadFile("/proc/thread-self/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sockets)) {
		// Its address, count, protocol, flags, type, state, inode and name.
		if f := strings.Fields(line); len(f) == 8 && filepath.Dir(f[7]) == dir {
			own = append(own, "socket:["+f[6]+"]")
		}
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) < 8 {
		t.Fatalf("its descriptors are %v, %v", fds, err)
	}
	for _, fd := range fds {
		name, err := os.Readlink(fd)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(name, "anon_inode:") && !slices.Contains(own, name) {
			t.Errorf("its descriptor %s is %s", filepath.Base(fd), name)
		}
		if name != m.Memory || m.Boot != nil {
			continue
		}
		held, heldErr := os.Stat(fd)
		capture, err := os.Stat(m.Memory)
		if err := errors.Join(heldErr, err); err != nil || os.SameFile(held, capture) {
			t.Errorf("its descriptor %s is the memory of a capture (%v)", filepath.Base(fd), err)
		}
	}
}

// limited checks that a VM's process is in control groups of the VM, as far as
// the host has such, and returns their directories.
func (h *host) limited(t *testing.T, m coppice.Machine, pid int) (dirs []string) {
	t.Helper()
	there, missing, err := qemu.Limited(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("limited: %v, not limited: %v", there, missing)
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(h.dir, "run", string(m.VM), "run.json"))
	if err != nil {
		t.Fatal(err)
	}
	var record struct{ Groups []string }
	if err := json.Unmarshal(b, &record); err != nil {
		t.Fatal(err)
	}
	own := strings.Count(string(groups), "/coppice-"+string(m.VM)+"\n")
	if own != len(record.Groups) || own == 0 && len(there) > 0 {
		t.Errorf("it is in the control groups\n%s and was to be in %v", groups, record.Groups)
	}
	limits := ""
	for _, dir := range record.Groups {
		for _, name := range []string{"cpu.cfs_quota_us", "cpu.max", "memory.limit_in_bytes", "memory.max", "pids.max"} {
			b, _ := os.ReadFile(filepath.Join(dir, name))
			limits += string(b)
		}
	}
	for controller, want := range map[string]string{"cpu": "200000", "memory": fmt.Sprint(1024 << 20), "pids": "129"} {
		if slices.Contains(there, controller) && !strings.Contains(limits, want) {
			t.Errorf("its limits are %q, and %s was to be limited to %s", limits, controller, want)
		}
	}
	return record.Groups
}
