package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

// A Machine is a guest to examine: a way to its agent, and what the exam needs
// to know of it. It understands echo, cat, head -c, exit, kill, sleep, pwd, ";",
// "&", ">&2" and variables.
type Machine struct {
	Dial func(context.Context) (net.Conn, error)
	// User is the name of one that is not root, and Home and RootHome are the
	// directories of the two.
	User, Home, RootHome string
}

// exam is an open session with a machine.
type exam struct {
	coppice.Session
	Machine
	guest coppice.Guest

	mu   sync.Mutex
	conn net.Conn // the last one dialled
}

// TestGuest examines an adapter to the agents in guests. boot returns an
// adapter and a machine that has just been started, and cleans up by t.
func TestGuest(t *testing.T, boot func(t *testing.T) (coppice.Guest, Machine)) {
	open := func(t *testing.T) *exam {
		e := &exam{}
		e.guest, e.Machine = boot(t)
		s, err := e.guest.Connect(t.Context(), e.dial, identity)
		must(t, err)
		e.Session = s
		t.Cleanup(func() { must(t, s.Close()) })
		return e
	}
	for name, test := range map[string]func(*testing.T, *exam){
		"exec":                            testExec,
		"exec gives input":                testExecInput,
		"exec has a deadline":             testExecTimeout,
		"exec can be cancelled":           testExecCancel,
		"exec leaves children running":    testExecBackground,
		"exec passes on signals":          testExecSignals,
		"exec runs many at once":          testExecMany,
		"a slow reader holds up nobody":   testSlowReader,
		"exec ends when its output does":  testExecBrokenOutput,
		"files are written and read":      testFiles,
		"files are replaced at once":      testFilesAtomic,
		"files that are not":              testFilesMissing,
		"directories are listed":          testDirectories,
		"directories are watched":         testWatch,
		"files are served by SFTP":        testSFTP,
		"sockets connect":                 testSockets,
		"sockets that are not":            testSocketsMissing,
		"sockets break with the stream":   testSocketsBreak,
		"a broken connection is replaced": testReconnect,
		"close ends calls":                testClose,
		"the clock is set":                func(t *testing.T, e *exam) { must(t, e.SetClock(t.Context())) },
		"shutdown is asked for":           func(t *testing.T, e *exam) { must(t, e.Shutdown(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	for name, test := range terminalTests {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	t.Run("connect tries again", func(t *testing.T) { testConnect(t, boot) })
}

var identity = coppice.GuestIdentity{VM: "abcdefghij0123456789", Instance: "9876543210jihgfedcba", Hostname: "stool", Fresh: true}

// dial dials the machine and remembers the connection.
func (e *exam) dial(ctx context.Context) (net.Conn, error) {
	conn, err := e.Machine.Dial(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conn = conn
	return conn, err
}

// hangUp breaks the connection.
func (e *exam) hangUp() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conn.Close()
}

// run runs a command and returns what it wrote.
func (e *exam) run(t *testing.T, spec coppice.ExecSpec) (stdout, stderr string, status coppice.ExecStatus) {
	t.Helper()
	var out, errs bytes.Buffer
	status, err := e.Exec(t.Context(), spec, coppice.Stdio{Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatalf("%s: %v", spec.Command, err)
	}
	return out.String(), errs.String(), status
}

func testExec(t *testing.T, e *exam) {
	for _, test := range []struct {
		spec        coppice.ExecSpec
		out, errout string
		code        int
		signal      string
	}{
		{spec: coppice.ExecSpec{Command: "echo running"}, out: "running\n"},
		{spec: coppice.ExecSpec{Command: "echo one; echo two >&2; echo three; exit 7"}, out: "one\nthree\n", errout: "two\n", code: 7},
		{spec: coppice.ExecSpec{Command: "exit 255"}, code: 255},
		{spec: coppice.ExecSpec{Command: "kill -9 $$"}, code: 128 + 9, signal: "SIGKILL"},
		{spec: coppice.ExecSpec{Command: "echo before; kill -15 $$; echo after"}, out: "before\n", code: 128 + 15, signal: "SIGTERM"},
		{spec: coppice.ExecSpec{Command: "no-such-command"}, code: 127},
		{spec: coppice.ExecSpec{Command: "cat"}},
		{spec: coppice.ExecSpec{Command: "pwd; echo $HOME $USER"}, out: e.RootHome + "\n" + e.RootHome + " root\n"},
		{spec: coppice.ExecSpec{Command: "pwd; echo $HOME $USER", User: e.User}, out: e.Home + "\n" + e.Home + " " + e.User + "\n"},
		{spec: coppice.ExecSpec{Command: "pwd", Dir: "/"}, out: "/\n"},
		{spec: coppice.ExecSpec{Command: "echo $A-$B-$COPPICE_VM_ID", Env: []string{"A=1", "B=x y"}}, out: "1-x y-" + string(identity.VM) + "\n"},
		{spec: coppice.ExecSpec{Command: "echo $LANG $PATH"}, out: "C.UTF-8 /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"},
	} {
		out, errout, status := e.run(t, test.spec)
		if test.code == 127 {
			errout = "" // every shell has its own words
		}
		if out != test.out || errout != test.errout || status != (coppice.ExecStatus{Code: test.code, Signal: test.signal}) {
			t.Errorf("%+v\n\twrote %q and %q and ended with %+v\n\twant  %q and %q and status %d",
				test.spec, out, errout, status, test.out, test.errout, test.code)
		}
	}
	_, err := e.Exec(t.Context(), coppice.ExecSpec{Command: "echo", User: "nobody-knows-me"}, coppice.Stdio{})
	if !errors.Is(err, coppice.ErrNoUser) {
		t.Errorf("as an unknown user: %v, want ErrNoUser", err)
	}
	if _, err := e.Exec(t.Context(), coppice.ExecSpec{Command: "echo", Dir: "/no/such/place"}, coppice.Stdio{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that is not there: %v, want fs.ErrNotExist", err)
	}
}

func testExecInput(t *testing.T, e *exam) {
	in := make([]byte, 300<<10) // more than any buffer on the way
	for i := range in {
		in[i] = byte(i * i >> 3)
	}
	var out bytes.Buffer
	status, err := e.Exec(t.Context(), coppice.ExecSpec{Command: "cat"}, coppice.Stdio{Stdin: bytes.NewReader(in), Stdout: &out})
	must(t, err)
	if status.Code != 0 || !bytes.Equal(out.Bytes(), in) {
		t.Errorf("cat ended with %+v after %d of %d bytes, equal: %v", status, out.Len(), len(in), bytes.Equal(out.Bytes(), in))
	}
	// A command need not read what it is given.
	status, err = e.Exec(t.Context(), coppice.ExecSpec{Command: "exit 3"}, coppice.Stdio{Stdin: bytes.NewReader(in)})
	if err != nil || status.Code != 3 {
		t.Errorf("a command that reads nothing: %+v, %v", status, err)
	}
	// Nor does the end of the command wait for a reader that has nothing yet.
	never, writer := io.Pipe()
	defer writer.Close()
	status, err = e.Exec(t.Context(), coppice.ExecSpec{Command: "exit 4"}, coppice.Stdio{Stdin: never})
	if err != nil || status.Code != 4 {
		t.Errorf("a command whose input does not come: %+v, %v", status, err)
	}
}

func testExecTimeout(t *testing.T, e *exam) {
	out, _, status := e.run(t, coppice.ExecSpec{Command: "echo so far; sleep 3600; echo too far", Timeout: 200 * time.Millisecond})
	if out != "so far\n" || status != (coppice.ExecStatus{Code: 124, TimedOut: true}) {
		t.Errorf("a command that takes too long wrote %q and ended with %+v", out, status)
	}
	out, _, status = e.run(t, coppice.ExecSpec{Command: "echo in time", Timeout: time.Minute})
	if out != "in time\n" || status != (coppice.ExecStatus{}) {
		t.Errorf("a command in time wrote %q and ended with %+v", out, status)
	}
}

func testExecCancel(t *testing.T, e *exam) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := func(p []byte) (int, error) { cancel(); return len(p), nil }
	_, err := e.Exec(ctx, coppice.ExecSpec{Command: "echo started; sleep 3600"}, coppice.Stdio{Stdout: writerFunc(started)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled command: %v, want Canceled", err)
	}
	if _, err := e.Exec(ctx, coppice.ExecSpec{Command: "echo"}, coppice.Stdio{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a command cancelled before it began: %v, want Canceled", err)
	}
	if out, _, _ := e.run(t, coppice.ExecSpec{Command: "echo next"}); out != "next\n" {
		t.Errorf("the next command wrote %q", out)
	}
}

func testExecSignals(t *testing.T, e *exam) {
	signals := make(chan string)
	out, stdout := io.Pipe()
	go func() {
		io.ReadFull(out, make([]byte, len("begun\n")))
		signals <- "no signal"
		signals <- "SIGTERM"
	}()
	status, err := e.Exec(t.Context(), coppice.ExecSpec{Command: "echo begun; sleep 1000"}, coppice.Stdio{Stdout: stdout, Signals: signals})
	if want := (coppice.ExecStatus{Code: 128 + 15, Signal: "SIGTERM"}); status != want || err != nil {
		t.Errorf("a command that was signalled: %+v, %v, want %+v", status, err, want)
	}
}

func testExecBackground(t *testing.T, e *exam) {
	out, _, status := e.run(t, coppice.ExecSpec{Command: "sleep 30 & echo started"})
	if out != "started\n" || status.Code != 0 {
		t.Errorf("a command that leaves a child wrote %q and ended with %+v", out, status)
	}
}

func testExecMany(t *testing.T, e *exam) {
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			var out strings.Builder
			status, err := e.Exec(t.Context(), coppice.ExecSpec{Command: fmt.Sprintf("sleep 0.2; echo %d; exit %d", i, i)}, coppice.Stdio{Stdout: &out})
			if want := fmt.Sprintln(i); err != nil || out.String() != want || status.Code != i {
				t.Errorf("command %d: wrote %q, ended with %+v and %v", i, out.String(), status, err)
			}
		})
	}
	all.Wait()
}

func testSlowReader(t *testing.T, e *exam) {
	const size = 3 << 20 // more than any buffer on the way
	stuck, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var got int
	slow := func(p []byte) (int, error) {
		once.Do(func() { close(stuck) })
		<-release
		got += len(p)
		return len(p), nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := e.Exec(t.Context(), coppice.ExecSpec{Command: fmt.Sprintf("head -c %d /dev/zero", size)}, coppice.Stdio{Stdout: writerFunc(slow)})
		done <- err
	}()
	<-stuck
	if out, _, _ := e.run(t, coppice.ExecSpec{Command: "echo quick"}); out != "quick\n" {
		t.Errorf("beside a slow reader a command wrote %q", out)
	}
	must(t, e.Files("").Write(t.Context(), "beside", 0o644, strings.NewReader("content")))
	close(release)
	if err := <-done; err != nil || got != size {
		t.Errorf("the slow reader got %d of %d bytes and %v", got, size, err)
	}
}

func testExecBrokenOutput(t *testing.T, e *exam) {
	broken := errors.New("broken")
	_, err := e.Exec(t.Context(), coppice.ExecSpec{Command: "echo started; sleep 3600"},
		coppice.Stdio{Stdout: writerFunc(func([]byte) (int, error) { return 0, broken })})
	if !errors.Is(err, broken) {
		t.Errorf("a command whose output cannot be written: %v, want the writer's error", err)
	}
	_, err = e.Exec(t.Context(), coppice.ExecSpec{Command: "cat; sleep 3600"}, coppice.Stdio{Stdin: io.MultiReader(strings.NewReader("x"), failingReader{broken})})
	if !errors.Is(err, broken) {
		t.Errorf("a command whose input cannot be read: %v, want the reader's error", err)
	}
}

func testReconnect(t *testing.T, e *exam) {
	hangUp := func(p []byte) (int, error) { e.hangUp(); return len(p), nil }
	_, err := e.Exec(t.Context(), coppice.ExecSpec{Command: "echo started; sleep 30"}, coppice.Stdio{Stdout: writerFunc(hangUp)})
	if !errors.Is(err, coppice.ErrGuestGone) {
		t.Errorf("a command whose connection broke: %v, want ErrGuestGone", err)
	}
	for range 3 {
		if out, _, _ := e.run(t, coppice.ExecSpec{Command: "echo back"}); out != "back\n" {
			t.Errorf("after a broken connection a command wrote %q", out)
		}
		e.hangUp()
	}
}

func testClose(t *testing.T, e *exam) {
	started := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := e.Exec(t.Context(), coppice.ExecSpec{Command: "echo started; sleep 30"},
			coppice.Stdio{Stdout: writerFunc(func(p []byte) (int, error) { close(started); return len(p), nil })})
		done <- err
	}()
	<-started
	must(t, e.Close())
	if err := <-done; !errors.Is(err, coppice.ErrGuestGone) {
		t.Errorf("a command in a session that is closed: %v, want ErrGuestGone", err)
	}
	must(t, e.Close())
	if _, err := e.Exec(t.Context(), coppice.ExecSpec{Command: "echo"}, coppice.Stdio{}); !errors.Is(err, coppice.ErrGuestGone) {
		t.Errorf("a command after Close: %v, want ErrGuestGone", err)
	}
}

func testConnect(t *testing.T, boot func(t *testing.T) (coppice.Guest, Machine)) {
	guest, machine := boot(t)
	tries := 0
	s, err := guest.Connect(t.Context(), func(ctx context.Context) (net.Conn, error) {
		if tries++; tries < 4 {
			return nil, errors.New("not yet")
		}
		return machine.Dial(ctx)
	}, identity)
	must(t, err)
	must(t, s.Close())

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = guest.Connect(ctx, func(context.Context) (net.Conn, error) { return nil, errors.New("never") }, identity)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connect to a guest that never comes: %v, want DeadlineExceeded", err)
	}
	_, err = guest.Connect(t.Context(), func(context.Context) (net.Conn, error) { return nil, coppice.ErrNoRun }, identity)
	if !errors.Is(err, coppice.ErrNoRun) {
		t.Errorf("connect to a VM that does not run: %v, want ErrNoRun", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }
