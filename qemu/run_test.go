package qemu_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/examguest"
	"github.com/coppice-vm/coppice/qemu"
)

// TestRun puts real guests into trouble that the twin knows nothing of. They
// are restored from one that is booted once.
func TestRun(t *testing.T) {
	h := newHost(t)
	hypervisor := h.open()
	booted, seed := h.seed(hypervisor)
	tests := []struct {
		name string
		test func(*testing.T, *host, *qemu.Hypervisor, coppice.Machine)
	}{
		{"is captured without tracing", untraced},
		{"is killed during a capture", killedInCapture},
		{"outlives a daemon that dies capturing", daemonDies},
		{"waits for space on a full disk", diskFull},
		{"is captured while it waits for space", capturedWaiting},
		{"is run by a QEMU that a link leads to", linked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, h, hypervisor, h.restore(booted, seed)) })
	}
	t.Run("goes on in a process that was prepared", func(t *testing.T) {
		prepared(t, h, hypervisor, h.boot(), seed)
	})
}

// linked has a guest run by a QEMU that is named by a symbolic link, of which
// there is none in the jail.
func linked(t *testing.T, h *host, _ *qemu.Hypervisor, m coppice.Machine) {
	binary, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	byLink := *h
	byLink.t, byLink.binary = t, filepath.Join(t.TempDir(), "qemu")
	if err := os.Symlink(binary, byLink.binary); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, start(t, byLink.open(), m), "kept", ""); got != "seed" {
		t.Errorf("its memory holds %q", got)
	}
}

// prepared has a VM continue a capture in the very process that was started
// ahead, whose memory then is the capture's: siblings share it.
func prepared(t *testing.T, h *host, hypervisor *qemu.Hypervisor, m coppice.Machine, seed coppice.CaptureFiles) {
	if err := hypervisor.Prepare(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	pid := h.pid(m.VM)
	h.refill(m.Disk, seed)
	m.Boot, m.Memory, m.State = nil, seed.Memory, seed.State
	r := start(t, hypervisor, m)
	if got := h.pid(m.VM); got != pid {
		t.Errorf("it runs in process %d, and %d was prepared", got, pid)
	}
	if got := ask(t, r, "kept", ""); got != "seed" {
		t.Errorf("its memory holds %q", got)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil || strings.Count(string(maps), seed.Memory) != 1 {
		t.Errorf("it does not map %s once (%v):\n%s", seed.Memory, err, maps)
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if name, _ := os.Readlink(fd); name == seed.Memory {
			t.Errorf("it holds %s open", name)
		}
	}
}

// start starts a machine that is gone at the end of the test.
func start(t *testing.T, h *qemu.Hypervisor, m coppice.Machine) coppice.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := h.Start(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Discard(context.Background(), m.VM); err != nil {
			t.Error(err)
		}
	})
	return r
}

// ask sends one request to a guest.
func ask(t *testing.T, r coppice.Run, verb, arg string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := r.DialAgent(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	result, err := examguest.Ask(ctx, conn, verb, arg)
	if err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
	return result
}

// Where another traces QEMU already, its memory is written during the pause.
func untraced(t *testing.T, h *host, hypervisor *qemu.Hypervisor, m coppice.Machine) {
	r := start(t, hypervisor, m)
	ask(t, r, "keep", "dirty 20")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid := h.pid(m.VM)
	if err := unix.PtraceSeize(pid); err != nil {
		t.Fatal(err)
	}
	c := h.newCapture()
	stats, err := r.Capture(t.Context(), c, coppice.LeaveRunning)
	if err != nil {
		t.Fatal(err)
	}
	if stats.DirtyMiB < 20 {
		t.Errorf("%d MiB are dirty, want 20 at least", stats.DirtyMiB)
	}
	if err := unix.PtraceInterrupt(pid); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		t.Fatal(err)
	}
	if err := unix.PtraceDetach(pid); err != nil {
		t.Fatal(err)
	}
	for who, r := range map[string]coppice.Run{"parent": r, "child": start(t, hypervisor, h.restore(m, c))} {
		if got := ask(t, r, "kept", ""); got != "dirty 20" {
			t.Errorf("the %s keeps %q", who, got)
		}
	}
}

// Kill returns when the process is gone, and its frozen copy too: the disk can
// be used again at once.
func killedInCapture(t *testing.T, h *host, hypervisor *qemu.Hypervisor, m coppice.Machine) {
	r := start(t, hypervisor, m)
	ask(t, r, "keep", "dirty 100")
	captured := make(chan error, 1)
	c := h.newCapture()
	go func() {
		_, err := r.Capture(context.Background(), c, coppice.LeaveRunning)
		captured <- err
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(c.State); err == nil {
			break // the guest is paused, or its memory is being written
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if err := r.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-captured; err != nil && !errors.Is(err, coppice.ErrNoRun) { // nil if it was quick
		t.Errorf("capture: %v, want ErrNoRun", err)
	}
	if pids := h.pids(m.VM); len(pids) != 0 {
		t.Errorf("processes %v are left", pids)
	}
	r = start(t, hypervisor, m)
	ask(t, r, "kept", "")
}

// capturer is a daemon that attaches to a VM and captures it until it is killed.
func capturer() {
	id, runDir, dir := coppice.VMID(os.Getenv("QEMU_TEST_VM")), os.Getenv("QEMU_TEST_RUN"), os.Getenv("QEMU_TEST_DIR")
	h := qemu.New(qemu.Config{RunDir: runDir, Log: slog.New(slog.DiscardHandler)})
	r, err := h.Attach(context.Background(), id)
	if err != nil {
		panic(err)
	}
	for {
		prefix := filepath.Join(dir, "abandoned")
		c := coppice.CaptureFiles{Memory: prefix + ".memory", State: prefix + ".state", Disk: prefix + ".disk"}
		for _, name := range []string{c.Memory, c.State, c.Disk} {
			os.Remove(name)
		}
		if _, err := r.Capture(context.Background(), c, coppice.LeaveRunning); err != nil {
			panic(err)
		}
		fmt.Println("captured")
	}
}

func daemonDies(t *testing.T, h *host, hypervisor *qemu.Hypervisor, m coppice.Machine) {
	ask(t, start(t, hypervisor, m), "keep", "dirty 10")
	hypervisor.Close()
	for round := range 8 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "QEMU_TEST=capturer", "QEMU_TEST_VM="+string(m.VM),
			"QEMU_TEST_RUN="+filepath.Join(h.dir, "run"), "QEMU_TEST_DIR="+h.dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscanln(out, new(string)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond) // to die anywhere
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() // says that it was killed

		next := h.open()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := next.Attach(ctx, m.VM)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if got := ask(t, r, "kept", ""); got != "dirty 10" {
			t.Fatalf("round %d: the guest keeps %q", round, got)
		}
		next.Close()
	}
	if pids := h.pids(m.VM); len(pids) != 1 {
		t.Errorf("processes %v, want one", pids)
	}
}

// A guest whose disk cannot be written waits until it can, and loses nothing.
func diskFull(t *testing.T, h *host, hypervisor *qemu.Hypervisor, m coppice.Machine) {
	r := start(t, hypervisor, m)
	ask(t, r, "write", "before")
	filler := filepath.Join(h.dir, "filler")
	fill(t, h.dir, filler)

	if _, err := r.Capture(t.Context(), h.newCapture(), coppice.LeaveRunning); !errors.Is(err, coppice.ErrNoSpace) {
		t.Errorf("capture: %v, want ErrNoSpace", err)
	}
	if got := ask(t, r, "kept", ""); got != "seed" {
		t.Errorf("after the failed capture the guest keeps %q", got)
	}

	conn, err := r.DialAgent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	written := make(chan error, 1)
	go func() {
		_, err := examguest.Ask(t.Context(), conn, "write", "fill 20")
		written <- err
	}()
	select {
	case err := <-written:
		t.Errorf("the guest wrote to a full disk (%v)", err)
	case <-time.After(time.Second):
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-written:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the guest still waits, with space on the disk")
	}
	conn.Close()
	if got := ask(t, r, "read", ""); got != "fill 20" {
		t.Errorf("the disk holds %q", got)
	}
}

// A guest that is captured while it waits for space has what it could not write
// in its capture: it goes on writing when that is restored, and when it is itself
// let go on, not before.
func capturedWaiting(t *testing.T, h *host, hypervisor *qemu.Hypervisor, m coppice.Machine) {
	r := start(t, hypervisor, m)
	filler := filepath.Join(h.dir, "filler")
	fill(t, h.dir, filler)
	conn, err := r.DialAgent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	written := make(chan error, 1)
	go func() {
		_, err := examguest.Ask(t.Context(), conn, "write", "fill 20")
		written <- err
	}()
	for what, changed := r.Waits(); what == ""; what, changed = r.Waits() {
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("the guest does not wait")
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	c := h.newCapture()
	if _, err := r.Capture(t.Context(), c, coppice.LeavePaused); err != nil {
		t.Fatal(err)
	}
	child := start(t, hypervisor, h.restore(m, c))
	if got := ask(t, child, "read", ""); got != "fill 20" {
		t.Errorf("the disk of the child holds %q", got)
	}
	select {
	case err := <-written:
		t.Fatalf("a guest that was left paused writes (%v)", err)
	default:
	}
	if err := r.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	conn.Close()
	if got := ask(t, r, "read", ""); got != "fill 20" {
		t.Errorf("the disk of the parent holds %q", got)
	}
}

// fill uses up the space of the file system that dir is on.
func fill(t *testing.T, dir, filler string) {
	t.Helper()
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Cleanup(func() { os.Remove(filler) })
	// XFS gives back the space of removed files in the background.
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	at := int64(0)
	for step := int64(8 << 30); step >= 4096; {
		if err := unix.Fallocate(int(f.Fd()), 0, at, step); err != nil {
			step /= 2
		} else {
			at += step
		}
	}
}
