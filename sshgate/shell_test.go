package sshgate

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice"
)

// A term is a client with a terminal.
type term struct {
	*ssh.Session
	t      *testing.T
	client *ssh.Client
	in     io.Writer
	out    *bufio.Reader
	errs   bytes.Buffer
}

// newTerm opens a session with a terminal, in which nothing runs.
func newTerm(t *testing.T, c *ssh.Client) *term {
	t.Helper()
	s, err := c.NewSession()
	must(t, err)
	must(t, s.RequestPty("vt220", 24, 80, ssh.TerminalModes{ssh.ECHO: 1}))
	in, err := s.StdinPipe()
	must(t, err)
	out, err := s.StdoutPipe()
	must(t, err)
	tm := &term{Session: s, t: t, client: c, in: in, out: bufio.NewReader(out)}
	s.Stderr = &tm.errs
	return tm
}

func (tm *term) typed(line string) {
	tm.t.Helper()
	_, err := io.WriteString(tm.in, line)
	must(tm.t, err)
}

// expect reads up to the end of a line.
func (tm *term) expect(line string) {
	tm.t.Helper()
	got, err := tm.out.ReadString('\n')
	if err != nil || got != line+"\r\n" {
		tm.t.Fatalf("it shows %q, %v, want %q", got, err, line)
	}
}

// terminals returns what runs in terminals of the guest.
func (g *gate) terminals() (running []coppice.TerminalInfo) {
	all, err := g.vms.guest.Terminals("").List(g.t.Context())
	must(g.t, err)
	for _, info := range all {
		if info.Ended.IsZero() {
			running = append(running, info)
		}
	}
	return running
}

func TestShell(t *testing.T) {
	g := newGate(t)
	tm := newTerm(t, g.client("oak+user", "token"))
	must(t, tm.Setenv("GREETING", "hello"))
	must(t, tm.Start("echo $TERM $GREETING; sleep 1000"))
	tm.expect("vt220 hello")
	if all := g.terminals(); len(all) != 1 || all[0].User != "user" || all[0].Size != (coppice.TerminalSize{Cols: 80, Rows: 24}) {
		t.Errorf("the guest has %+v", all)
	}
	if _, inUse, _ := g.vms.counts(); inUse != 0 {
		t.Error("a quiet terminal keeps the VM in use")
	}
	for rows := 25; rows < 60; rows++ { // of which only the last one counts
		must(t, tm.WindowChange(rows, 132))
	}
	g.await("as large as the window", func() bool {
		all := g.terminals()
		return len(all) == 1 && all[0].Size == coppice.TerminalSize{Cols: 132, Rows: 59}
	})
	must(t, tm.Signal(ssh.SIGTERM))
	err := tm.Wait()
	if failed, ok := err.(*ssh.ExitError); !ok || failed.Signal() != "TERM" {
		t.Errorf("it ended with %v", err)
	}

	tm = newTerm(t, g.client("oak", "key"))
	must(t, tm.Shell())
	tm.typed("exit 7\r")
	err = tm.Wait()
	if failed, ok := err.(*ssh.ExitError); !ok || failed.ExitStatus() != 7 {
		t.Errorf("the shell ended with %v", err)
	}
}

// A terminal goes with its connection, unless it was given a name.
func TestShellEndsWithItsConnection(t *testing.T) {
	g := newGate(t)
	tm := newTerm(t, g.client("oak", "key"))
	must(t, tm.Start("echo here; sleep 1000"))
	tm.expect("here")
	must(t, tm.client.Close())
	g.await("hung up", func() bool { return len(g.terminals()) == 0 })

	for range 2 {
		tm := newTerm(t, g.client("oak", "key"))
		must(t, tm.Setenv(nameVariable, "work"))
		must(t, tm.Start("echo here; sleep 1000"))
		tm.expect("here") // the second time on the screen that is drawn anew
		must(t, tm.client.Close())
		g.await("left", func() bool { all := g.terminals(); return len(all) == 1 && all[0].Attached == 0 })
		if all := g.terminals(); all[0].ID != "work" {
			t.Errorf("it is called %q", all[0].ID)
		}
	}
}

// When the VM goes to sleep the terminal is quiet, and there again when
// something is typed.
func TestShellSleeps(t *testing.T) {
	g := newGate(t)
	tm := newTerm(t, g.client("oak", "key"))
	must(t, tm.Shell())
	tm.typed("echo one\r")
	tm.expect("echo one\rone")
	used, _, _ := g.vms.counts()
	g.vms.set(coppice.Suspended)
	g.cut()
	g.await("left", func() bool { return g.terminals()[0].Attached == 0 }) // for this guest is not paused, and would take it
	tm.typed("echo two\r")
	var shown strings.Builder
	for !strings.HasSuffix(shown.String(), "\rtwo\r\n") {
		line, err := tm.out.ReadString('\n')
		must(t, err)
		shown.WriteString(line)
	}
	if again, _, _ := g.vms.counts(); again != used+1 {
		t.Errorf("the VM was entered %d times more", again-used)
	}
	if !strings.HasPrefix(shown.String(), "echo one\rone\r\n") {
		t.Errorf("it shows %q", shown.String())
	}
	g.vms.set(coppice.Stopped)
	g.cut()
	if err := tm.Wait(); err == nil || !strings.Contains(tm.errs.String(), "is not running") {
		t.Errorf("after a stop: %v, %q", err, &tm.errs)
	}
	if !strings.HasPrefix(tm.errs.String(), "coppice: waking oak ...\r\n") {
		t.Errorf("it says %q", &tm.errs)
	}
}

// A terminal that breaks again and again is given up when somebody types.
func TestShellBreaks(t *testing.T) {
	g := newGate(t)
	tm := newTerm(t, g.client("oak", "key"))
	must(t, tm.Shell())
	tm.typed("echo one\r")
	tm.expect("echo one\rone")
	var attached atomic.Int64
	g.vms.mu.Lock()
	g.vms.guest = broken{g.vms.guest, &attached}
	g.vms.mu.Unlock()
	g.cut()
	g.await("left alone", func() bool { return attached.Load() == maxBreaks-1 })
	tm.typed("x")
	if err := tm.Wait(); err == nil {
		t.Error("its end is no error")
	}
	if n := attached.Load(); n != maxBreaks {
		t.Errorf("it was attached to %d times, want %d", n, maxBreaks)
	}
}

// broken is a guest whose terminals break as soon as they are attached to.
type broken struct {
	coppice.Session
	attached *atomic.Int64
}

func (b broken) Terminals(user string) coppice.GuestTerminals {
	return brokenTerminals{b.Session.Terminals(user), b.attached}
}

type brokenTerminals struct {
	coppice.GuestTerminals
	attached *atomic.Int64
}

func (b brokenTerminals) Attach(ctx context.Context, id string, size coppice.TerminalSize, typist *coppice.Typist) (coppice.Terminal, error) {
	b.attached.Add(1)
	terminal, err := b.GuestTerminals.Attach(ctx, id, size, typist)
	return brokenTerminal{terminal}, err
}

type brokenTerminal struct{ coppice.Terminal }

func (brokenTerminal) Read([]byte) (int, error)  { return 0, coppice.ErrGuestGone }
func (brokenTerminal) Write([]byte) (int, error) { return 0, coppice.ErrGuestGone }

// A silent guest takes what is typed, and shows nothing of it.
type silent struct{ coppice.Session }

func (s silent) Terminals(user string) coppice.GuestTerminals {
	return silentTerminals{s.Session.Terminals(user)}
}

type silentTerminals struct{ coppice.GuestTerminals }

func (s silentTerminals) Open(ctx context.Context, spec coppice.TerminalSpec) (coppice.Terminal, error) {
	terminal, err := s.GuestTerminals.Open(ctx, spec)
	return &silentTerminal{Terminal: terminal, left: make(chan struct{})}, err
}

type silentTerminal struct {
	coppice.Terminal
	left chan struct{}
}

func (s *silentTerminal) Read([]byte) (int, error) {
	<-s.left
	return 0, coppice.ErrGuestGone
}

// Write takes something, and then the guest falls asleep.
func (s *silentTerminal) Write(p []byte) (int, error) {
	defer close(s.left)
	return s.Terminal.Write(p)
}

// What a guest has taken and fallen asleep over is answered, though nothing more is typed.
func TestShellFallsAsleepOverInput(t *testing.T) {
	g := newGate(t)
	g.vms.guest = silent{g.vms.guest}
	tm := newTerm(t, g.client("oak", "key"))
	must(t, tm.Shell())
	g.await("open", func() bool { return len(g.terminals()) == 1 })
	g.vms.set(coppice.Suspended)
	tm.typed("echo one\r")
	tm.expect("echo one\rone")
	if used, _, _ := g.vms.counts(); used != 2 {
		t.Errorf("the VM was entered %d times, want 2", used)
	}
	tm.typed("exit\r")
	must(t, tm.Wait())
}
