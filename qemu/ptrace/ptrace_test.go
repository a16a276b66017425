package ptrace_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/qemu/ptrace"
)

const areaSize = 4 << 20

// The test binary is also the process that is copied.
func TestMain(m *testing.M) {
	switch os.Getenv("PTRACE_TEST") {
	case "subject":
		subject()
		return
	case "caller":
		caller()
		return
	case "filtered":
		filtered()
		return
	}
	goleak.VerifyTestMain(m)
}

// subject says where its memory is. For each empty line it reads it then counts in
// all of its pages and says how far; for another one it opens the file of that
// name and says what its descriptor is.
func subject() {
	memory, err := unix.Mmap(-1, 0, areaSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		panic(err)
	}
	if err := unix.Madvise(memory, unix.MADV_DONTFORK); err != nil { // as QEMU does
		panic(err)
	}
	fmt.Printf("%d\n", uintptr(unsafe.Pointer(&memory[0])))
	count := uint64(0)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if name := lines.Text(); name != "" {
			fd, err := unix.Open(name, unix.O_RDONLY, 0)
			if err != nil {
				panic(err)
			}
			fmt.Println(fd)
			continue
		}
		count++
		for at := 0; at < areaSize; at += 4096 {
			binary.NativeEndian.PutUint64(memory[at:], count)
		}
		fmt.Println(count)
	}
}

// caller makes copies of a process, one after the other, until it is killed.
func caller() {
	var pid int
	var area ptrace.Area
	if _, err := fmt.Sscan(os.Getenv("PTRACE_TEST_SUBJECT"), &pid, &area.Start, &area.End); err != nil {
		panic(err)
	}
	f, err := ptrace.NewFreezer(pid, area)
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	for {
		c, err := f.Freeze()
		if err != nil {
			panic(err)
		}
		if err := c.Release(); err != nil {
			panic(err)
		}
	}
}

type process struct {
	t    *testing.T
	pid  int
	area ptrace.Area
	in   io.Writer
	out  *bufio.Reader
}

func start(t *testing.T) *process {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "PTRACE_TEST=subject")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process did not end well: %v", err)
		}
	})
	p := &process{t: t, pid: cmd.Process.Pid, in: in, out: bufio.NewReader(out)}
	var address uint64
	p.scan(&address)
	p.area = ptrace.Area{Start: address, End: address + areaSize}
	return p
}

func (p *process) scan(v *uint64) {
	p.t.Helper()
	if _, err := fmt.Fscanln(p.out, v); err != nil {
		p.t.Fatal(err)
	}
}

// step has the process count once more.
func (p *process) step() (count uint64) {
	p.t.Helper()
	fmt.Fprintln(p.in)
	p.scan(&count)
	return count
}

// check checks the count in each page of a process.
func (p *process) check(pid int, want uint64) {
	p.t.Helper()
	b := make([]byte, areaSize)
	local := []unix.Iovec{{Base: &b[0], Len: areaSize}}
	remote := []unix.RemoteIovec{{Base: uintptr(p.area.Start), Len: areaSize}}
	if n, err := unix.ProcessVMReadv(pid, local, remote, 0); n != areaSize || err != nil {
		p.t.Fatalf("read %d bytes, %v", n, err)
	}
	for at := 0; at < areaSize; at += 4096 {
		if got := binary.NativeEndian.Uint64(b[at:]); got != want {
			p.t.Fatalf("page %d of process %d has %d, want %d", at/4096, pid, got, want)
		}
	}
}

func TestFreeze(t *testing.T) {
	p := start(t)
	f, err := ptrace.NewFreezer(p.pid, p.area)
	if err != nil {
		t.Fatal(err)
	}
	var copies []*ptrace.Copy
	for want := range uint64(5) {
		c, err := f.Freeze()
		if err != nil {
			t.Fatal(err)
		}
		copies = append(copies, c)
		if got := p.step(); got != want+1 {
			t.Fatalf("the process counted to %d, want %d", got, want+1)
		}
	}
	for i, c := range copies {
		p.check(c.PID, uint64(i))
		if err := c.Release(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", c.PID)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after its release the copy is there: %v", err)
		}
	}
	p.check(p.pid, 5)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil || !strings.Contains(string(status), "TracerPid:\t0\n") {
		t.Errorf("the process is still traced (%v):\n%s", err, status)
	}
}

// A process that is busy all the time does not notice.
func TestFreezeBusy(t *testing.T) {
	p := start(t)
	counted := make(chan uint64)
	stop := make(chan struct{})
	go func() {
		last := uint64(0)
		defer func() { counted <- last }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			fmt.Fprintln(p.in)
			var count uint64
			if _, err := fmt.Fscanln(p.out, &count); err != nil || count != last+1 {
				t.Errorf("after %d came %d, %v", last, count, err)
				return
			}
			last = count
		}
	}()
	for range 100 {
		f, err := ptrace.NewFreezer(p.pid, p.area)
		if err != nil {
			t.Fatal(err)
		}
		c, err := f.Freeze()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Release(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if n := <-counted; n == 0 {
		t.Error("the process was never busy")
	}
}

// A caller that is killed, wherever it is, leaves the process as it was and no
// copy of it.
func TestCallerIsKilled(t *testing.T) {
	p := start(t)
	for round := range uint64(60) {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "PTRACE_TEST=caller",
			fmt.Sprintf("PTRACE_TEST_SUBJECT=%d %d %d", p.pid, p.area.Start, p.area.End))
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
		time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() // says that it was killed
		if got := p.step(); got != round+1 {
			t.Fatalf("the process counted to %d, want %d", got, round+1)
		}
	}
	p.check(p.pid, 60)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // dying takes a moment
		copies := children(t, p.pid)
		if len(copies) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the copies %v live, or nobody has buried them", copies)
		}
	}
}

// children returns the children of a process, the dead ones too.
func children(t *testing.T, pid int) []string {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(names) == 0 {
		t.Fatalf("no lists of children: %v", err)
	}
	var pids []string
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread is gone
		}
		pids = append(pids, strings.Fields(string(b))...)
	}
	return pids
}

// A process that somebody has stopped can be copied, and stays stopped.
func TestFreezeStopped(t *testing.T) {
	p := start(t)
	p.step()
	if err := unix.Kill(p.pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	f, err := ptrace.NewFreezer(p.pid, p.area)
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	p.check(c.PID, 1)
	if err := c.Release(); err != nil {
		t.Error(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil || !strings.Contains(string(stat), ") T ") {
		t.Errorf("the process is not stopped any more: %s (%v)", stat, err)
	}
	if err := unix.Kill(p.pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := p.step(); got != 2 {
		t.Errorf("the process counted to %d, want 2", got)
	}
}

// A file takes the place of what a process had mapped, and is not written.
func TestRemap(t *testing.T) {
	p := start(t)
	p.step()
	name := filepath.Join(t.TempDir(), "file")
	content := make([]byte, areaSize)
	for at := 0; at < areaSize; at += 4096 {
		binary.NativeEndian.PutUint64(content[at:], 77)
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := ptrace.NewRemapper(p.pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Map(p.area, 1<<20); !errors.Is(err, unix.EBADF) {
		t.Errorf("no such descriptor: %v, want EBADF", err)
	}
	p.check(p.pid, 1)
	fmt.Fprintln(p.in, name)
	var fd uint64
	p.scan(&fd)
	if err := r.Map(p.area, int(fd)); err != nil {
		t.Fatal(err)
	}
	p.check(p.pid, 77)
	if got := p.step(); got != 2 {
		t.Errorf("the process counted to %d, want 2", got)
	}
	p.check(p.pid, 2)
	if after, err := os.ReadFile(name); err != nil || !bytes.Equal(after, content) {
		t.Errorf("the file was written (%v)", err)
	}
}

func TestFreezeFails(t *testing.T) {
	if _, err := ptrace.NewFreezer(1<<22+1, ptrace.Area{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no process: %v, want ErrNotExist", err)
	}
	p := start(t)
	f, err := ptrace.NewFreezer(p.pid, p.area)
	if err != nil {
		t.Fatal(err)
	}
	// A process has one tracer at a time.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.PtraceSeize(p.pid); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Freeze(); !errors.Is(err, unix.EPERM) {
		t.Errorf("a process that is traced: %v, want EPERM", err)
	}
	if err := unix.PtraceInterrupt(p.pid); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(p.pid, nil, unix.WALL, nil); err != nil {
		t.Fatal(err)
	}
	if err := unix.PtraceDetach(p.pid); err != nil {
		t.Fatal(err)
	}
	if got := p.step(); got != 1 {
		t.Errorf("the process counted to %d, want 1", got)
	}
}
