package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/qemu/jail"
	"github.com/coppice-vm/coppice/sqlite"
)

// audited has the test end with an audit that finds nothing.
func audited(t *testing.T, c *client.Client) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), callDeadline)
		defer cancel()
		audit, err := c.Audit(ctx)
		if err != nil {
			t.Errorf("the audit at the end: %v", err)
		}
		for _, d := range audit.Discrepancies {
			t.Errorf("the audit at the end finds: %+v", d)
		}
	})
}

// doctorAudits runs the program's audit, and returns what it finds: "surplus" or
// "missing", of what kind, and whose or which. What was repaired is marked so.
func doctorAudits(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(deadline(t), install.program, append([]string{"doctor", "--audit", "--json"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var audit api.Audit
	if jsonErr := json.Unmarshal(out, &audit); jsonErr != nil {
		t.Fatalf("doctor --audit: %v, %v\n%s%s", err, jsonErr, out, &stderr)
	}
	found, left := []string{}, 0
	for _, d := range audit.Discrepancies {
		line := "surplus "
		if d.Missing {
			line = "missing "
		}
		line += d.Kind + " " + d.VMID + d.SnapshotID
		if d.VMID == "" && d.SnapshotID == "" {
			line += filepath.Base(d.Name)
		}
		if d.Repaired {
			line += " repaired"
		} else {
			left++
		}
		if d.Error != "" || d.Fix == "" || d.Text == "" {
			t.Errorf("%+v", d)
		}
		found = append(found, line)
	}
	exit := new(exec.ExitError)
	if errors.As(err, &exit) != (left > 0) || left > 0 && exit.ExitCode() != 1 {
		t.Errorf("%d are left, and the program ended with %v", left, err)
	}
	slices.Sort(found)
	return found
}

// do runs a script of this machine's shell, which is to succeed.
func do(t *testing.T, script string, args ...any) string {
	t.Helper()
	script = fmt.Sprintf(script, args...)
	out, err := exec.CommandContext(deadline(t), "sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

func wantFound(t *testing.T, when string, got, want []string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s it finds\n  %s\nwant\n  %s", when, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// What is made or lost by hand is found, and repaired where that is safe; what
// is not safe is left alone.
func TestAudit(t *testing.T) {
	c := connect(t)
	running, stopped := create(t, c), create(t, c)
	if _, err := c.Stop(deadline(t), stopped); err != nil {
		t.Fatal(err)
	}
	wantFound(t, "before anything is wrong", doctorAudits(t), nil)

	stranger, capture, row := string(coppice.NewVMID()), string(coppice.NewCaptureID()), coppice.NewCaptureID()
	data, pool := string(install.data), install.data.Pool()
	do(t, `mkdir %[1]s/run/%[2]s && touch %[1]s/run/%[2]s/console.log %[1]s/credentials.1234`, data, stranger)
	jailed(t, filepath.Join(install.data.Run(), stranger))
	// One that only says that it is a VM's is nothing of ours.
	pretender := exec.Command("sleep", "600")
	pretender.Args[0] = "coppice-vm:" + install.data.Run() + "/" + running
	pretender.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: noVMs}}
	if err := pretender.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { pretender.Process.Kill(); pretender.Wait() }()
	do(t, `touch %[1]s/networks/%[2]s && unshare --net=%[1]s/networks/%[2]s true`, data, stranger)
	do(t, `nsenter --net=%s/networks/%s ip tuntap add name tap9 mode tap`, data, running)
	do(t, `ip link add cpv39999 type veth peer name coppice-test`)
	t.Cleanup(func() { exec.Command("ip", "link", "delete", "coppice-test").Run() })
	do(t, `cd %s && mkdir vms/%s captures/%s images/old && echo x | tee vms/%[2]s/disk.raw captures/%[3]s/memory tmp/%[2]s.1 vms/notes`, pool, stranger, capture)
	do(t, `mv %s/vms/%s %[1]s/aside`, pool, stopped)
	want := []string{
		"surplus process " + stranger + " repaired", "surplus log " + stranger + " repaired", "surplus network namespace " + stranger + " repaired",
		"surplus unfinished credentials.1234 repaired", "surplus stray " + running + " repaired", "surplus stray cpv39999 repaired",
		"surplus disk " + stranger + " repaired", "surplus memory " + capture + " repaired", "surplus image old repaired",
		"surplus unfinished " + stranger + " repaired", "surplus row " + string(row) + " repaired",
		"surplus stray notes", "surplus stray aside", "missing disk " + stopped, "missing memory " + stopped,
	}
	if image := pool + ".xfs"; do(t, `test ! -e %s || losetup --read-only --find --show %[1]s`, image) != "" {
		loop := do(t, `losetup --noheadings --output NAME --associated %s | sort -V | tail -1`, image)
		want = append(want, "surplus stray "+filepath.Base(loop)+" repaired")
	}
	db, err := sqlite.Open(t.Context(), install.data.Database())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	like, err := db.Captures(t.Context(), coppice.SystemAccount)
	if err != nil || len(like) == 0 {
		t.Fatal(like, err)
	}
	if err := db.InsertCapture(t.Context(), coppice.Capture{ID: row, Account: coppice.SystemAccount, Source: coppice.VMID(stranger), Image: like[0].Image, Size: like[0].Size, CreatedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}

	wantFound(t, "with everything wrong", doctorAudits(t), withoutMarks(want))
	wantFound(t, "repairing", doctorAudits(t, "--repair"), slices.Clone(want))
	want = slices.DeleteFunc(want, func(line string) bool { return strings.HasSuffix(line, " repaired") })
	wantFound(t, "repaired", doctorAudits(t), want)

	do(t, `mv %s/aside %[1]s/vms/%s && rm %[1]s/vms/notes`, pool, stopped)
	wantFound(t, "put right by hand", doctorAudits(t), nil)
	if err := pretender.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a process that is nobody's was harmed: %v", err)
	}
	if sh(t, c, running, "echo lives") != "lives\n" {
		t.Error("the VM that runs was harmed")
	}
	if _, err := c.Start(deadline(t), stopped, api.StartVM{}); err != nil {
		t.Errorf("the VM whose files were put back: %v", err)
	}
}

// noVMs is one of the users that VMs may have, which is no VM's here.
const noVMs = 2000065535

// jailed starts a process in a run directory as QEMUs are, until the end of the test.
func jailed(t *testing.T, dir string) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	sleep := do(t, "readlink -f $(command -v sleep)")
	j := jail.Jail{
		User: noVMs, Dir: dir, Write: []string{filepath.Join(dir, "console.log")},
		System: []string{sleep, "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"},
	}
	pid, fd, err := j.Start(sleep, []string{"sleep", "600"}, []*os.File{null, null, null})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		unix.Wait4(pid, nil, 0, nil)
		unix.Close(fd)
	})
}

func withoutMarks(lines []string) (bare []string) {
	for _, line := range lines {
		bare = append(bare, strings.TrimSuffix(line, " repaired"))
	}
	return bare
}

// Without a daemon the program looks by itself; the daemon that comes next
// settles what it finds.
func TestAuditWithoutDaemon(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	killDaemon(t)
	kill(t, qemu(t, vm))
	if found := doctorAudits(t); !slices.Contains(found, "missing process "+vm) {
		t.Errorf("it finds\n%s", strings.Join(found, "\n"))
	}
	if out, err := exec.CommandContext(deadline(t), install.program, "doctor", "--repair").CombinedOutput(); err == nil || !strings.Contains(string(out), "coppice up") {
		t.Errorf("a repair without a daemon: %v\n%s", err, out)
	}
	restartDaemon(t)
	awaitState(t, c, vm, api.Lost)
	wantFound(t, "settled", doctorAudits(t), nil)
}

// killDaemon ends the daemon without warning, and returns when it is gone.
func killDaemon(t *testing.T) {
	t.Helper()
	kill(t, daemon(t))
	await(t, "there is no daemon", func() bool {
		_, err := install.data.Daemon()
		return errors.Is(err, host.ErrNoDaemon)
	})
}
