package freeze_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/qemu/freeze"
)

const areaSize = 4 << 20

// The test binary is also the process that is copied.
func TestMain(m *testing.M) {
	if os.Getenv("FREEZE_TEST") == "subject" {
		subject()
		return
	}
	goleak.VerifyTestMain(m)
}

// subject says where its memory is, and then for each line it reads counts in
// all of its pages and says how far.
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
		count++
		for at := 0; at < areaSize; at += 4096 {
			binary.NativeEndian.PutUint64(memory[at:], count)
		}
		fmt.Println(count)
	}
}

type process struct {
	t    *testing.T
	pid  int
	area freeze.Area
	in   io.Writer
	out  *bufio.Reader
}

func start(t *testing.T) *process {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "FREEZE_TEST=subject")
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
	p.area = freeze.Area{Start: address, End: address + areaSize}
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
	f, err := freeze.New(p.pid, p.area)
	if err != nil {
		t.Fatal(err)
	}
	var copies []*freeze.Copy
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
		f, err := freeze.New(p.pid, p.area)
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

func TestFreezeFails(t *testing.T) {
	if _, err := freeze.New(1<<22+1, freeze.Area{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no process: %v, want ErrNotExist", err)
	}
	p := start(t)
	f, err := freeze.New(p.pid, p.area)
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
