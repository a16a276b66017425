package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

// fork makes children of a VM, which go with the test.
func fork(t *testing.T, c *client.Client, parent string, n int) []string {
	t.Helper()
	forked, err := c.Fork(deadline(t), parent, api.ForkVM{Count: &n})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, f := range forked.Forks {
		ids = append(ids, f.ID)
		t.Cleanup(func() { remove(t, c, f.ID) })
	}
	if len(ids) != n || len(forked.Errors) != 0 {
		t.Fatalf("%d children of %d: %+v", len(ids), n, forked.Errors)
	}
	return ids
}

// A counter in memory, a checksum over random memory, a half-written file and a
// listening server go on in every copy, and the parent does not notice.
func TestForkCopiesEverything(t *testing.T) {
	c := connect(t)
	parent := create(t, c)
	sh(t, c, parent, `cat >/root/busy.py <<'EOF'
import hashlib, os, socket, threading, time
noise = os.urandom(50 << 20)
count = 0
log = open("/root/log", "w")
def counting():
    global count
    while True:
        count += 1
        log.write(f"{count}\n")
        log.flush()
        time.sleep(0.01)
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", 7000))
server.listen()
threading.Thread(target=counting, daemon=True).start()
while True:
    peer, _ = server.accept()
    answer = hashlib.sha256(noise).hexdigest() if peer.recv(1) == b"s" else str(count)
    peer.sendall(answer.encode())
    peer.close()
EOF
ip link set lo up
nohup python3 /root/busy.py >/dev/null 2>&1 &`)
	ask := func(vm, what string) string {
		t.Helper()
		return strings.TrimSpace(sh(t, c, vm, `python3 -c 'import socket; s = socket.create_connection(("127.0.0.1", 7000)); s.sendall(b"`+what+`"); print(s.makefile().read())'`))
	}
	count := func(vm string) int {
		t.Helper()
		n, err := strconv.Atoi(ask(vm, "c"))
		if err != nil {
			t.Errorf("VM %s: %v", vm, err)
		}
		return n
	}
	sh(t, c, parent, `for i in $(seq 300); do test -s /root/log && exit; sleep 0.1; done; exit 1`)
	before, sum := count(parent), ask(parent, "s")
	info := awaitState(t, c, parent, api.Running)

	children := fork(t, c, parent, 3)
	for _, vm := range append(children, parent) {
		if first, second := count(vm), count(vm); first < before || second <= first {
			t.Errorf("VM %s counts %d, %d after %d", vm, first, second, before)
		}
		if got := ask(vm, "s"); got != sum {
			t.Errorf("VM %s has a checksum of %s, not %s", vm, got, sum)
		}
		// The file went on from where it was, without a gap.
		lines := strings.Fields(sh(t, c, vm, "sync; cat /root/log"))
		for i, line := range lines {
			if line != strconv.Itoa(i+1) && i < len(lines)-1 {
				t.Errorf("VM %s: line %d of the log is %s", vm, i+1, line)
				break
			}
		}
		if errs := sh(t, c, vm, "dmesg | grep -ciE 'EXT4-fs (error|warning)|I/O error' || true"); errs != "0\n" {
			t.Errorf("VM %s has file system errors", vm)
		}
	}
	if after := awaitState(t, c, parent, api.Running); after.VMInstanceID != info.VMInstanceID {
		t.Error("the parent became another run")
	}
	// Children live on without their parent.
	remove(t, c, parent)
	for _, vm := range children {
		count(vm)
	}
}

// A database that is forked in the middle of transactions is whole in every
// copy: what was committed is there, and nothing half.
func TestForkDatabase(t *testing.T) {
	c := connect(t)
	parent := create(t, c)
	sh(t, c, parent, `cat >/root/db.py <<'EOF'
import sqlite3
db = sqlite3.connect("/root/bank.db", isolation_level=None)
db.execute("pragma journal_mode=wal")
db.execute("create table if not exists account (id integer primary key, balance integer)")
db.execute("begin")
db.executemany("insert or ignore into account values (?, 1000)", [(i,) for i in range(100)])
db.execute("commit")
n = 0
while True:
    n += 1
    db.execute("begin immediate")
    db.execute("update account set balance = balance - 7 where id = ?", (n % 100,))
    db.execute("update account set balance = balance + 7 where id = ?", ((n * 31 + 1) % 100,))
    db.execute("commit")
EOF
nohup python3 /root/db.py >/dev/null 2>&1 &
for i in $(seq 200); do test -s /root/bank.db-wal && exit; sleep 0.1; done; exit 1`)
	const check = `pkill -f '[d]b.py'; sleep 0.2; python3 -c '
import sqlite3
db = sqlite3.connect("/root/bank.db")
print(db.execute("pragma integrity_check").fetchone()[0], db.execute("select sum(balance), count(*) from account").fetchone())'`
	for _, vm := range append(fork(t, c, parent, 2), parent) {
		if got := sh(t, c, vm, check); got != "ok (100000, 100)\n" {
			t.Errorf("VM %s: %s", vm, got)
		}
	}
}

// A fork of a fork of a fork remembers everything, and no deeper one is different.
func TestForkDepth(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	var want string
	for depth := range 8 {
		want += fmt.Sprintf("%d\n", depth)
		sh(t, c, vm, fmt.Sprintf("echo %d | tee -a /dev/shm/memory >>/root/disk; sync", depth))
		vm = fork(t, c, vm, 1)[0]
	}
	if got := sh(t, c, vm, "cat /dev/shm/memory /root/disk"); got != want+want {
		t.Errorf("at the end of the chain: %q", got)
	}
	if errs := sh(t, c, vm, "dmesg | grep -ciE 'EXT4-fs (error|warning)|I/O error' || true"); errs != "0\n" {
		t.Error("it has file system errors")
	}
}

// A machine that writes memory as fast as it can is captured at one instant: no
// page is newer than another.
func TestForkWhileMemoryIsWritten(t *testing.T) {
	c := connect(t)
	parent := create(t, c)
	// Every page gets the number of the round, in order; at any instant the
	// numbers fall by at most one, once.
	sh(t, c, parent, `cat >/root/writer.py <<'EOF'
import mmap
pages = 4096
m = mmap.mmap(-1, pages * 4096)
n = 0
f = open("/proc/self/comm")
while True:
    n += 1
    stamp = n.to_bytes(8, "little")
    for p in range(pages):
        m[p * 4096:p * 4096 + 8] = stamp
    if n == 2:
        open("/root/running", "w").close()
EOF
nohup python3 /root/writer.py >/dev/null 2>&1 &
for i in $(seq 300); do test -e /root/running && exit; sleep 0.1; done; exit 1`)
	const check = `pkill -STOP -f '[w]riter.py'; python3 -c '
import os, subprocess
pid = subprocess.check_output(["pgrep", "-f", "[w]riter.py"]).split()[0].decode()
for line in open(f"/proc/{pid}/maps"):
    lo, hi = (int(x, 16) for x in line.split()[0].split("-"))
    if hi - lo == 4096 * 4096 and "zero" in line:
        mem = open(f"/proc/{pid}/mem", "rb")
        stamps = []
        for p in range(4096):
            mem.seek(lo + p * 4096)
            stamps.append(int.from_bytes(mem.read(8), "little"))
        steps = [(a, b) for a, b in zip(stamps, stamps[1:]) if a != b]
        print("consistent" if len(steps) <= 1 and all(a == b + 1 for a, b in steps) else steps[:10])
'`
	for range 3 {
		child := fork(t, c, parent, 1)[0]
		if got := sh(t, c, child, check); got != "consistent\n" {
			t.Errorf("the child's memory is of more than one instant: %s", got)
		}
		remove(t, c, child)
	}
}

// Sixteen children at once, each of them its own.
func TestSixteenChildren(t *testing.T) {
	c := connect(t)
	parent := create(t, c)
	sh(t, c, parent, "echo inherited >/dev/shm/note")
	var wg sync.WaitGroup
	for i, vm := range fork(t, c, parent, 16) {
		wg.Go(func() {
			got := sh(t, c, vm, fmt.Sprintf("echo %d >/root/mine; cat /dev/shm/note /root/mine; hostname", i))
			if want := fmt.Sprintf("inherited\n%d\n%s\n", i, vm); got != want {
				t.Errorf("child %d says %q, want %q", i, got, want)
			}
		})
	}
	wg.Wait()
}

func TestForkOfSuspendedAndStopped(t *testing.T) {
	c := connect(t)
	parent := create(t, c)
	sh(t, c, parent, "echo memory >/dev/shm/note; echo disk >/root/note; sync")
	if _, err := c.Suspend(deadline(t), parent); err != nil {
		t.Fatal(err)
	}
	child := fork(t, c, parent, 1)[0]
	if got := sh(t, c, child, "cat /dev/shm/note /root/note"); got != "memory\ndisk\n" {
		t.Errorf("the child of a suspended VM has %q", got)
	}
	if _, err := c.Stop(deadline(t), parent); err != nil {
		t.Fatal(err)
	}
	child = fork(t, c, parent, 1)[0]
	if got := sh(t, c, child, "cat /dev/shm/note /root/note 2>&1 || true"); !strings.HasSuffix(got, "disk\n") || strings.Contains(got, "memory") {
		t.Errorf("the child of a stopped VM has %q", got)
	}
}

// Suspended and resumed, also by another daemon: processes go on where they were.
func TestSuspendAndResume(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	sh(t, c, vm, "echo in memory >/dev/shm/note; (while true; do date +%s%N >/dev/shm/new; mv /dev/shm/new /dev/shm/beat; sleep 0.1; done) >/dev/null 2>&1 & until test -e /dev/shm/beat; do sleep 0.1; done")
	for _, restart := range []bool{false, true} {
		if _, err := c.Suspend(deadline(t), vm); err != nil {
			t.Fatal(err)
		}
		if info := awaitState(t, c, vm, api.Suspended); info.Reason != "" {
			t.Errorf("suspended because %s", info.Reason)
		}
		if left, _ := filepath.Glob(install.data.Run() + "/" + vm + "/*.sock"); len(left) != 0 {
			t.Errorf("a suspended VM has %v", left)
		}
		if restart {
			kill(t, daemon(t))
			restartDaemon(t)
		}
		if _, err := c.Start(deadline(t), vm, api.StartVM{}); err != nil {
			t.Fatal(err)
		}
		if got := sh(t, c, vm, "cat /dev/shm/note; a=$(cat /dev/shm/beat); sleep 1; b=$(cat /dev/shm/beat); test $b -gt $a && echo beating"); got != "in memory\nbeating\n" {
			t.Errorf("after a resume: %q", got)
		}
	}
}

// A snapshot outlives its VM, and makes VMs that remember.
func TestSnapshotOutlivesItsVM(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	sh(t, c, vm, "echo then >/dev/shm/note")
	taken, err := c.TakeSnapshot(deadline(t), vm, api.TakeSnapshot{})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, c, vm, "echo now >/dev/shm/note")
	remove(t, c, vm)
	made, err := c.Create(deadline(t), api.CreateVM{VMSpec: api.VMSpec{SnapshotID: &taken.SnapshotID}})
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, c, made.ID)
	if _, err := c.DeleteSnapshot(deadline(t), taken.SnapshotID); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, c, made.ID, "cat /dev/shm/note"); got != "then\n" {
		t.Errorf("from the snapshot: %q", got)
	}
}

// The daemon is killed while it forks: the parent runs on, nothing is stuck, and
// nothing is left of what was not finished.
func TestDaemonKilledWhileForking(t *testing.T) {
	c := connect(t)
	others := vmIDs(t, c)
	parent := create(t, c)
	sh(t, c, parent, "echo in memory >/dev/shm/note")
	before := qemu(t, parent)
	for _, delay := range []time.Duration{5, 40, 150, 400} {
		go c.Fork(deadline(t), parent, api.ForkVM{Count: new(2)}) // cut off
		time.Sleep(delay * time.Millisecond)                      // somewhere in it: no place is special
		kill(t, daemon(t))
		restartDaemon(t)
		awaitState(t, c, parent, api.Running)
		if got := sh(t, c, parent, "cat /dev/shm/note"); got != "in memory\n" || qemu(t, parent) != before {
			t.Fatalf("killed after %d ms: the parent was replaced, or says %q", delay, got)
		}
		child := fork(t, c, parent, 1)[0]
		if got := sh(t, c, child, "cat /dev/shm/note"); got != "in memory\n" {
			t.Errorf("killed after %d ms: the next child says %q", delay, got)
		}
		remove(t, c, child)
	}
	// Children that were finished before a kill are there; of others nothing is
	// left, but for what is made ahead for the next to come.
	known := 0
	for _, vm := range vmIDs(t, c) {
		if !slices.Contains(others, vm) && vm != parent {
			remove(t, c, vm)
			continue
		}
		known++
	}
	files, err := os.ReadDir(install.data.Pool() + "/vms")
	if err != nil || len(files) > known+ahead {
		t.Errorf("%d VMs are known, but %d have files: %v", known, len(files), err)
	}
}

// ahead is how many VMs a daemon makes ahead, at the most.
const ahead = 4

// vmIDs lists the VMs there are.
func vmIDs(t *testing.T, c *client.Client) (ids []string) {
	t.Helper()
	list, err := c.VMs(deadline(t), client.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, vm := range list.VMs {
		ids = append(ids, vm.ID)
	}
	return ids
}

// A child or the parent can be killed at any time; the others do not care.
func TestKillAmongForks(t *testing.T) {
	c := connect(t)
	parent := create(t, c)
	children := fork(t, c, parent, 2)
	kill(t, qemu(t, children[0]))
	awaitState(t, c, children[0], api.Lost)
	sh(t, c, children[1], "true")
	kill(t, qemu(t, parent))
	awaitState(t, c, parent, api.Lost)
	sh(t, c, children[1], "true")
	grandchild := fork(t, c, children[1], 1)[0]
	sh(t, c, grandchild, "true")
	if _, err := c.Fork(deadline(t), parent, api.ForkVM{}); coppice.CodeOf(err) != coppice.CodeVMNotRunning {
		t.Errorf("fork of a lost VM: %v", err)
	}
}
