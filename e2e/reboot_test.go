package e2e

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/api"
)

// mounts is the file that keeps the lab's own mounts.
func (l *lab) mounts() string { return filepath.Join(filepath.Dir(l.data), "boot", "mounts") }

// powerCycle gives the lab's host mounts of its own, and from the second time on
// reboots it first: all its processes end, and all that they have mounted is gone.
// What has booted then has another boot id.
func (l *lab) powerCycle() {
	l.t.Helper()
	dir := filepath.Dir(l.mounts())
	if l.boots == 0 {
		do(l.t, `mkdir %[1]s && mount --bind %[1]s %[1]s && mount --make-private %[1]s && touch %s`, dir, l.mounts())
		l.t.Cleanup(func() {
			if l.daemon != nil { // one may run, of a test that has failed
				l.kill()
			}
			l.killVMs()
			l.run("umount", l.mounts())
			l.run("umount", dir)
		})
	} else {
		l.kill()
		l.killVMs()
		do(l.t, "umount %s", l.mounts())
		// The kernel takes a moment to unmount what was mounted there.
		await(l.t, "its disk is free", func() bool { return !mounted(l.disk) })
	}
	l.boots++
	id := filepath.Join(dir, "id")
	if err := os.WriteFile(id, []byte(rand.Text()+"\n"), 0o600); err != nil {
		l.t.Fatal(err)
	}
	do(l.t, `unshare --mount=%s --propagation private mount --bind %s /proc/sys/kernel/random/boot_id`, l.mounts(), id)
}

// killVMs ends every process of the lab's VMs, as if it had never been asked.
func (l *lab) killVMs() {
	l.t.Helper()
	for _, pid := range l.vmProcesses() {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			l.t.Fatal(err)
		}
	}
	await(l.t, "the VMs' processes are gone", func() bool { return len(l.vmProcesses()) == 0 })
}

func (l *lab) vmProcesses() (pids []int) {
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range commands {
		if b, err := os.ReadFile(name); err == nil && bytes.HasPrefix(b, []byte("coppice-vm:"+l.data)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// mounted reports whether a loop device has a file behind it, in whatever namespace.
func mounted(file string) bool {
	var st unix.Stat_t
	if unix.Stat(file, &st) != nil {
		return false
	}
	devices, _ := filepath.Glob("/sys/block/loop*/loop")
	for _, sys := range devices {
		dev, err := os.Open(filepath.Join("/dev", filepath.Base(filepath.Dir(sys))))
		if err != nil {
			continue
		}
		info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
		dev.Close()
		if err == nil && info.Device == st.Dev && info.Inode == st.Ino {
			return true
		}
	}
	return false
}

// awaitState waits until a VM is in a state, and returns what is said of it.
func (l *lab) awaitState(vm string, want api.State) (info api.VM) {
	l.t.Helper()
	await(l.t, fmt.Sprintf("%s is %s", vm, want), func() bool {
		info = l.get(vm)
		return info.State == want
	})
	return info
}

// audits fails the test if an audit finds anything.
func (l *lab) audits(when string) {
	l.t.Helper()
	if found := l.coppice("doctor", "--audit"); !strings.HasPrefix(found, "discrepancies: 0,") {
		l.t.Errorf("%s the audit finds\n%s", when, found)
	}
}

// After the host's reboot what was asleep wakes with its memory, what ran is
// stopped or boots again, as the host's policy has it, and nothing is left over.
func TestHostReboot(t *testing.T) {
	l := newLab(t)
	l.powerCycle()
	defer l.purge()
	ahead := []string{"--spares", "1", "--husks", "1"}
	l.start(ahead...)
	for _, vm := range []string{"runs", "sleeps", "lies", "dozes"} {
		l.coppice("create", "--name", vm, "--idle-timeout", "never")
		l.coppice("exec", vm, "echo in memory >/dev/shm/note; echo on disk >/root/note; sync")
	}
	l.coppice("suspend", "sleeps")
	l.coppice("suspend", "dozes")
	l.coppice("stop", "lies")

	l.powerCycle()
	l.start(ahead...)
	for vm, want := range map[string]api.State{"runs": api.Stopped, "sleeps": api.Suspended, "dozes": api.Suspended, "lies": api.Stopped} {
		if info := l.awaitState(vm, want); vm == "runs" && info.Reason != "the host was rebooted" {
			t.Errorf("%s is %s: %q", vm, info.State, info.Reason)
		}
	}
	l.audits("after a reboot")
	if note := l.coppice("exec", "sleeps", "cat /dev/shm/note /root/note"); note != "in memory\non disk" {
		t.Errorf("the VM that was suspended: %q", note)
	}
	l.coppice("start", "runs")
	if note := l.coppice("exec", "runs", "cat /root/note; ls /dev/shm"); note != "on disk" {
		t.Errorf("the VM that ran: %q", note)
	}

	l.powerCycle()
	began := time.Now()
	l.start(append(ahead, "--after-reboot", "start")...)
	for _, vm := range []string{"runs", "sleeps"} { // both ran
		l.awaitState(vm, api.Running)
		if note := l.coppice("exec", vm, "cat /root/note; ls /dev/shm"); note != "on disk" {
			t.Errorf("%s: %q", vm, note)
		}
	}
	t.Logf("two VMs ran again %v after the start of the daemon", time.Since(began).Round(100*time.Millisecond))
	if info := l.get("lies"); info.State != api.Stopped {
		t.Errorf("the VM that was stopped is %s", info.State)
	}
	if note := l.coppice("exec", "dozes", "cat /dev/shm/note /root/note"); note != "in memory\non disk" {
		t.Errorf("the VM that slept through two reboots: %q", note)
	}
}
