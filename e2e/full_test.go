package e2e

import (
	"errors"
	"os"
	"path/filepath"
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
