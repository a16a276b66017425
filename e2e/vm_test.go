package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// The SDK's own page, by the SDK itself.
func TestNPMClient(t *testing.T) {
	sdk(t, "--test-concurrency=1", "lifecycle.test.mjs", "identities.test.mjs")
}

// A shutdown leaves the file system clean, whoever asks for it: the next boot
// has no journal to replay.
func TestShutdownIsClean(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	stop := map[string]func(){
		"asked for by stop": func() {
			if _, err := c.Stop(deadline(t), vm); err != nil {
				t.Fatal(err)
			}
		},
		"from inside": func() {
			c.ExecAwait(deadline(t), vm, coppice.ExecSpec{Command: "systemctl poweroff"}) // may be cut off
			if info := awaitState(t, c, vm, api.Stopped); info.Reason == "" {
				t.Error("nothing says that the guest powered itself off")
			}
		},
	}
	for name, stop := range stop {
		sh(t, c, vm, "echo "+strconv.Quote(name)+" >>/root/log; dd if=/dev/urandom of=/root/unsynced bs=1M count=4 2>/dev/null")
		stop()
		if _, err := c.Start(deadline(t), vm, api.StartVM{}); err != nil {
			t.Fatal(err)
		}
		if recovered := sh(t, c, vm, "dmesg | grep -ci 'EXT4-fs.*recover' || true"); recovered != "0\n" {
			t.Errorf("after a shutdown %s the journal was replayed", name)
		}
	}
	if got := strings.Count(sh(t, c, vm, "cat /root/log"), "\n"); got != len(stop) {
		t.Errorf("the log has %d lines", got)
	}
}

func TestGuestReboots(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	before, err := c.VM(deadline(t), vm)
	if err != nil {
		t.Fatal(err)
	}
	bootID := sh(t, c, vm, "echo kept >/root/kept; sync; cat /proc/sys/kernel/random/boot_id")
	c.ExecAwait(deadline(t), vm, coppice.ExecSpec{Command: "systemctl reboot"})
	if _, err := c.Await(deadline(t), vm); err != nil {
		t.Fatal(err)
	}
	after := awaitState(t, c, vm, api.Running)
	if after.VMInstanceID == before.VMInstanceID {
		t.Error("a new run has the old run's id")
	}
	if got := sh(t, c, vm, "cat /root/kept /proc/sys/kernel/random/boot_id"); got == "kept\n"+bootID || !strings.HasPrefix(got, "kept\n") {
		t.Errorf("after a reboot: %q", got)
	}
}

// A guest that dies is lost, says why, and comes back with its disk.
func TestGuestPanics(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	sh(t, c, vm, "echo kept >/root/kept; sync")
	c.ExecAwait(deadline(t), vm, coppice.ExecSpec{Command: "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger"})
	info := awaitState(t, c, vm, api.Lost)
	if !strings.Contains(info.Reason, "panic") {
		t.Errorf("reason: %q", info.Reason)
	}
	console, err := c.Console(deadline(t), vm)
	if err != nil || !bytes.Contains(console, []byte("Kernel panic")) {
		t.Errorf("the console does not show the panic: %v\n%s", err, console)
	}
	if _, err := c.Start(deadline(t), vm, api.StartVM{}); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, c, vm, "cat /root/kept"); got != "kept\n" {
		t.Errorf("the disk after a panic: %q", got)
	}
}

// A VM of another size has it, inside too; the second of a size does not boot.
func TestOtherSize(t *testing.T) {
	c := connect(t)
	for range 2 {
		vm, err := c.Create(deadline(t), api.CreateVM{VMSpec: api.VMSpec{VCPUCount: new(2), MemSizeGb: new(0.5), RootfsSizeGb: new(20.0)}})
		if err != nil {
			t.Fatal(err)
		}
		defer remove(t, c, vm.ID)
		if got := sh(t, c, vm.ID, `nproc; df --output=size -BG / | tail -1; awk '/MemTotal/ {print ($2 < 524288)}' /proc/meminfo`); strings.Join(strings.Fields(got), " ") != "2 20G 1" {
			t.Errorf("it says: %s", got)
		}
	}
}

// A QEMU that somebody kills is noticed, and nothing is stuck.
func TestProcessKilled(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	kill(t, qemu(t, vm))
	if info := awaitState(t, c, vm, api.Lost); info.Reason == "" {
		t.Error("nothing says why")
	}
	if _, err := c.Start(deadline(t), vm, api.StartVM{}); err != nil {
		t.Fatal(err)
	}
	sh(t, c, vm, "true")
}

// The daemon dies as hard as it can; the VMs do not notice, and the next daemon
// has them all, in whatever state they are.
func TestDaemonKilled(t *testing.T) {
	c := connect(t)
	running, stopped := create(t, c), create(t, c)
	sh(t, c, running, "echo in memory >/dev/shm/note")
	if _, err := c.Stop(deadline(t), stopped); err != nil {
		t.Fatal(err)
	}
	before, process := qemu(t, running), daemon(t)
	instance := awaitState(t, c, running, api.Running).VMInstanceID
	kill(t, process)

	restartDaemon(t)
	if now := daemon(t); now == process {
		t.Fatal("the daemon was not killed")
	}
	if after := awaitState(t, c, running, api.Running); after.VMInstanceID != instance || qemu(t, running) != before {
		t.Errorf("the VM that ran was replaced: %+v", after)
	}
	if got := sh(t, c, running, "cat /dev/shm/note"); got != "in memory\n" {
		t.Errorf("the VM's memory: %q", got)
	}
	awaitState(t, c, stopped, api.Stopped)
	if _, err := c.Start(deadline(t), stopped, api.StartVM{}); err != nil {
		t.Error(err)
	}
}

func TestFiftyExecsAtOnce(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			result, err := c.ExecAwait(deadline(t), vm, coppice.ExecSpec{Command: fmt.Sprintf("echo %d; exit %d", i, i)})
			if want := fmt.Sprintf("%d\n", i); err != nil || result.Stdout != want || result.StatusCode != i {
				t.Errorf("exec %d: %+v, %v", i, result, err)
			}
		})
	}
	wg.Wait()
}

// Much output costs the daemon nothing: it is passed on as it comes, and what is
// kept of it by exec-await has a limit, of which the answer tells.
func TestHundredMegabytesOfOutput(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	before := peakMemory(t)
	const script = "head -c 100000000 /dev/zero"
	result, err := c.ExecAwait(deadline(t), vm, coppice.ExecSpec{Command: script})
	if err != nil || !result.StdoutTruncated || len(result.Stdout) != 8<<20 {
		t.Errorf("exec-await: %d bytes, truncated %v, %v", len(result.Stdout), result.StdoutTruncated, err)
	}
	var n counter
	if status, err := c.Exec(deadline(t), vm, coppice.ExecSpec{Command: script}, coppice.Stdio{Stdout: &n}); err != nil || status.Code != 0 || n != 100_000_000 {
		t.Errorf("exec: %d bytes, %+v, %v", n, status, err)
	}
	if grown := peakMemory(t) - before; grown > 100<<20 {
		t.Errorf("the daemon grew by %d MiB", grown>>20)
	}
}

// A large file goes in and comes out without the daemon or the agent holding it.
func TestLargeFile(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	before := peakMemory(t)
	const size, most = 256 << 20, 64 << 20
	ctx, cancel := context.WithTimeout(t.Context(), 5*callDeadline) // an emulated guest takes its time
	defer cancel()
	sent, received := sha256.New(), sha256.New()
	files := c.Files(vm, "")
	if err := files.Write(ctx, "/root/big/file", 0o600, io.TeeReader(io.LimitReader(&numbers{}, size), sent)); err != nil {
		t.Fatal(err)
	}
	f, err := files.Open(ctx, "/root/big/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Content.Close()
	if n, err := io.Copy(received, f.Content); err != nil || n != size || f.Size != size {
		t.Errorf("read %d bytes of %d: %v", n, f.Size, err)
	}
	if !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		t.Error("what came out is not what went in")
	}
	if grown := peakMemory(t) - before; grown > most {
		t.Errorf("the daemon grew by %d MiB", grown>>20)
	}
	agent := sh(t, c, vm, "grep VmHWM /proc/$(pgrep -o coppice-agent)/status")
	var peak int64 // in KiB
	if _, err := fmt.Sscanf(agent, "VmHWM: %d kB", &peak); err != nil || peak<<10 > most {
		t.Errorf("the agent's most is %q, %v", agent, err)
	}
}

// A VM can be deleted while it starts, and leaves nothing.
func TestDeleteWhileStarting(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	if _, err := c.Stop(deadline(t), vm); err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() {
		_, err := c.Start(deadline(t), vm, api.StartVM{})
		started <- err
	}()
	awaitState(t, c, vm, api.Starting)
	if _, err := c.Delete(deadline(t), vm); err != nil {
		t.Fatal(err)
	}
	if err := <-started; coppice.CodeOf(err) != coppice.CodeConflict && coppice.CodeOf(err) != coppice.CodeVMDeleted {
		t.Errorf("the start that was cut short: %v", err)
	}
	for _, dir := range []string{install.data.Pool() + "/vms", install.data.Run()} {
		if _, err := os.Stat(filepath.Join(dir, vm)); err == nil {
			t.Errorf("%s/%s is left", dir, vm)
		}
	}
}

// A counter counts the bytes written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// numbers reads as ever larger 8-byte numbers: no block is like another.
type numbers struct{ n uint64 }

func (r *numbers) Read(p []byte) (int, error) {
	p = p[:len(p)&^7]
	for i := 0; i < len(p); i += 8 {
		binary.BigEndian.PutUint64(p[i:], r.n)
		r.n++
	}
	return len(p), nil
}

// qemu returns the process of a VM.
func qemu(t *testing.T, vm string) int {
	t.Helper()
	pid := processOf(vm)
	if pid == 0 {
		t.Fatalf("no process of VM %s", vm)
	}
	return pid
}

// processOf returns the process of a VM, 0 if there is none.
func processOf(vm string) int {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range found {
		b, err := os.ReadFile(name)
		if err == nil && bytes.HasPrefix(b, []byte("coppice-vm:"+filepath.Join(install.data.Run(), vm)+"\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			return pid
		}
	}
	return 0
}

// daemon returns the process that serves the tests' data directory.
func daemon(t *testing.T) int {
	t.Helper()
	p, err := install.data.Daemon()
	if err != nil {
		t.Fatal(err)
	}
	return p.PID
}

// peakMemory returns the most memory that the daemon has had so far, in bytes.
func peakMemory(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", daemon(t)))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Fatal("the daemon's status does not tell its peak memory")
	return 0
}

// kill kills a process, and returns when it is gone.
func kill(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	gone := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(callDeadline); gone[0].Revents == 0; {
		if _, err := unix.Poll(gone, 1000); err != nil && err != unix.EINTR || time.Now().After(deadline) {
			t.Fatalf("process %d does not end: %v", pid, err)
		}
	}
}
