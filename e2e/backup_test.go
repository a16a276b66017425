package e2e

import (
	"path/filepath"
	"testing"
)

// A copy of the data directory that was made as docs/OPERATING.md says brings
// back what has been deleted since: memory, processes and disks.
func TestBackupAndRestore(t *testing.T) {
	l := newLab(t)
	l.start()
	defer l.purge()
	l.coppice("create", "--name", "asleep")
	l.coppice("exec", "asleep", "echo in memory >/dev/shm/note; nohup sleep 9876 >/dev/null 2>&1 &")
	l.coppice("create", "--name", "off")
	l.coppice("exec", "off", "echo on disk >/root/note")
	l.coppice("suspend", "asleep")
	l.coppice("stop", "off")

	// still has the daemon end, and a script done while nothing writes.
	backup := filepath.Join(filepath.Dir(l.data), "backup")
	still := func(script string) {
		t.Helper()
		l.leave()
		do(t, `if mountpoint -q %[1]s/pool; then umount %[1]s/pool; fi; `+script, l.data, backup)
		l.start()
	}
	still("cp -a --sparse=always %[1]s %[2]s")
	l.coppice("rm", "asleep", "off")
	l.coppice("create", "--name", "later")
	l.coppice("rm", "later")
	still("rm -rf %[1]s && mv %[2]s %[1]s")

	if got := l.coppice("exec", "asleep", "cat /dev/shm/note; pgrep -c -x sleep"); got != "in memory\n1" {
		t.Errorf("what was asleep says %q", got)
	}
	l.coppice("start", "off")
	if got := l.coppice("exec", "off", "cat /root/note"); got != "on disk" {
		t.Errorf("what was off says %q", got)
	}
}
