package e2e

import (
	"encoding/json"
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice/api"
)

var upgradeFrom = flag.String("upgrade-from", "HEAD~30", "git revision of the build that TestUpgrade begins with")

// build builds the product as of a revision, and returns the program.
func build(t *testing.T, revision string) string {
	t.Helper()
	if out, err := exec.Command("git", "rev-parse", "--verify", revision+"^{commit}").CombinedOutput(); err != nil {
		t.Skipf("there is no history here to build %s from: %v\n%s", revision, err, out)
	}
	dir := t.TempDir()
	do(t, `git -C .. archive %s | tar -x -C %s
		cd %[2]s && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o bin/ ./cmd/coppice ./cmd/coppice-agent`, revision, dir)
	return filepath.Join(dir, "bin", "coppice")
}

// get returns what the program says of a VM.
func (l *lab) get(vm string) (info api.VM) {
	l.t.Helper()
	if err := json.Unmarshal([]byte(l.coppice("get", vm, "--json")), &info); err != nil {
		l.t.Fatal(err)
	}
	return info
}

// ticks returns how often the guest's clockwork has ticked.
func (l *lab) ticks(vm string) string { return l.coppice("exec", vm, "wc -l </root/ticks") }

// An earlier build's data directory and its VMs, which run on, are taken over by
// this build.
func TestUpgrade(t *testing.T) {
	l := newLab(t)
	defer l.purge()
	l.program = build(t, *upgradeFrom)
	none := []string{"--spares", "0", "--husks", "0"}
	l.start(none...)
	l.coppice("create", "--name", "runs", "--idle-timeout", "never")
	l.coppice("exec", "runs", clockwork+"; echo in memory >/dev/shm/note; echo on disk >/root/note")
	l.coppice("fork", "runs", "--name", "sleeps")
	l.coppice("suspend", "sleeps")
	l.coppice("fork", "runs", "--name", "lies")
	l.coppice("stop", "lies")
	l.coppice("snapshot", "runs", "--name", "kept")
	before := l.get("runs")
	l.leave()
	asleep := time.Now()

	l.program = install.program
	l.start(none...)
	t.Logf("the API of the next build answered after %v", time.Since(asleep).Round(time.Millisecond))
	if after := l.get("runs"); after.State != api.Running || after.VMInstanceID != before.VMInstanceID {
		t.Errorf("the VM that ran was %+v and is %+v", before, after)
	}
	counted := l.ticks("runs")
	if note := l.coppice("exec", "runs", "cat /dev/shm/note"); note != "in memory" {
		t.Errorf("the memory of the VM that ran: %q", note)
	}
	await(t, "its clockwork goes on", func() bool { return l.ticks("runs") != counted })
	l.coppice("create", "--from", "kept", "--name", "copy")
	l.coppice("fork", "runs", "--name", "child")
	for _, vm := range []string{"sleeps", "copy", "child"} {
		if note := l.coppice("exec", vm, "cat /dev/shm/note /root/note"); note != "in memory\non disk" {
			t.Errorf("%s: %q", vm, note)
		}
	}
	l.coppice("start", "lies")
	if note := l.coppice("exec", "lies", "cat /root/note; ls /dev/shm"); note != "on disk" {
		t.Errorf("the VM that was stopped: %q", note)
	}
	l.coppice("suspend", "runs")
	if note := l.coppice("exec", "runs", "cat /dev/shm/note"); note != "in memory" {
		t.Errorf("the VM that ran, suspended and woken: %q", note)
	}
	l.coppice("create", "--name", "new")
	if out := l.coppice("exec", "new", "echo works"); out != "works" {
		t.Errorf("a new VM: %q", out)
	}
	if vms := strings.Count(l.coppice("ls"), "running"); vms != 6 {
		t.Errorf("%d VMs run:\n%s", vms, l.coppice("ls"))
	}
}
