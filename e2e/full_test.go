package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
)

// Where the pool has no room for a capture, a fork, a snapshot and a suspend say
// so, the VM runs on as it was, and nothing is left of them. Deleting works, and
// with room again everything does.
func TestPoolIsFull(t *testing.T) {
	c := connect(t)
	parent, other := create(t, c), create(t, c)
	sh(t, c, parent, "echo in memory >/dev/shm/note")
	before, process := captures(t), qemu(t, parent)
	known := vmIDs(t, c)

	free := fillPool(t)
	_, forkErr := c.Fork(deadline(t), parent, api.ForkVM{Count: new(2)})
	_, snapshotErr := c.TakeSnapshot(deadline(t), parent, api.TakeSnapshot{})
	_, suspendErr := c.Suspend(deadline(t), parent)
	for what, err := range map[string]error{"fork": forkErr, "snapshot": snapshotErr, "suspend": suspendErr} {
		if coppice.CodeOf(err) != coppice.CodeNoStorage {
			t.Errorf("%s: %v, want %s", what, err, coppice.CodeNoStorage)
		}
	}
	if got := sh(t, c, parent, "cat /dev/shm/note"); got != "in memory\n" || qemu(t, parent) != process {
		t.Errorf("the VM was replaced, or says %q", got)
	}
	if left := captures(t); left != before {
		t.Errorf("there were %d captures, there are %d", before, left)
	}
	if now := vmIDs(t, c); len(now) != len(known) {
		t.Errorf("there were %d VMs, there are %d", len(known), len(now))
	}
	remove(t, c, other)

	free()
	child := fork(t, c, parent, 1)[0]
	if got := sh(t, c, child, "cat /dev/shm/note"); got != "in memory\n" {
		t.Errorf("the child says %q", got)
	}
}

// captures counts the captures in the pool, finished or not.
func captures(t *testing.T) int {
	t.Helper()
	n := 0
	for _, dir := range []string{"captures", "tmp"} {
		entries, err := os.ReadDir(filepath.Join(install.data.Pool(), dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), "sc-") {
				n++
			}
		}
	}
	return n
}

// fillPool takes what is free in the pool, and returns what gives it back. It
// does so only where the pool is a file system of its own, which is sparse.
func fillPool(t *testing.T) (free func()) {
	t.Helper()
	pool := install.data.Pool()
	var outer, inner unix.Stat_t
	if err := errors.Join(unix.Stat(filepath.Dir(pool), &outer), unix.Stat(pool, &inner)); err != nil {
		t.Fatal(err)
	}
	if outer.Dev == inner.Dev {
		t.Skip("the pool has all of a disk, which is not to be filled")
	}
	return reflinktest.Fill(t, pool)
}

// A guest that finds no space for its disk waits, and its VM says so; others are
// evicted, and can be deleted, meanwhile. With space it goes on by itself, and its file system and
// what it has written are in order.
func TestGuestWaitsForSpace(t *testing.T) {
	c := connect(t)
	vm, other, asleep := create(t, c), create(t, c), create(t, c)
	if err := suspendVM(t, c, asleep); err != nil {
		t.Fatal(err)
	}
	sh(t, c, vm, `head -c 4M /dev/urandom >/root/before && sha256sum /root/before >/root/sums && sync
		nohup sh -c 'until [ -e /dev/shm/go ]; do sleep 0.2; done
			dd if=/dev/zero of=/root/zeroes bs=1M count=300 oflag=direct conv=fsync 2>/dev/shm/said; echo $? >/dev/shm/done' >/dev/null 2>&1 &`)

	free := fillPool(t)
	sh(t, c, vm, "touch /dev/shm/go")
	waits := func(info api.VM) bool { return strings.Contains(info.Reason, "waits for space in the pool") }
	awaitVM(t, c, vm, "waits for space", waits)
	events, err := c.History(deadline(t), vm, 0)
	if err != nil || !slices.ContainsFunc(events.Events, func(e api.Event) bool { return strings.Contains(e.Reason, "waits for space") }) {
		t.Errorf("its history is %+v, %v", events, err)
	}
	awaitVM(t, c, asleep, "is evicted", func(info api.VM) bool { return info.Deleted })
	awaitVM(t, c, vm, "waits again", waits) // what an eviction gives back is not enough
	remove(t, c, other)

	free()
	awaitVM(t, c, vm, "runs on", func(info api.VM) bool { return info.State == api.Running && info.Reason == "" })
	got := sh(t, c, vm, `until [ -e /dev/shm/done ]; do sleep 0.2; done; cat /dev/shm/done
		stat -c %s /root/zeroes; tr -d '\0' </root/zeroes | wc -c; sha256sum --quiet -c /root/sums
		dmesg | grep -iE 'I/O error|EXT4-fs (error|warning)|remount' || true`)
	if got != fmt.Sprintf("0\n%d\n0\n", 300<<20) {
		t.Errorf("the guest says:\n%s", got)
	}
	if _, err := c.Stop(deadline(t), vm); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(install.data.Pool(), "vms", vm, "disk.raw")
	if out, err := exec.Command("e2fsck", "-fn", disk).CombinedOutput(); err != nil {
		t.Errorf("its file system is not in order: %v\n%s", err, out)
	}
}
