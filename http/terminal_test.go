package http

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/mem"
)

// until reads until something is shown.
func until(t *testing.T, r io.Reader, text string) {
	t.Helper()
	var seen bytes.Buffer
	buf := make([]byte, 4096)
	for !strings.Contains(seen.String(), text) {
		n, err := r.Read(buf)
		if seen.Write(buf[:n]); err != nil {
			t.Fatalf("the terminal ended with %v before it showed %q: %q", err, text, seen.String())
		}
	}
}

// types types text.
func types(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func openTerminal(t *testing.T, c *client.Client, vm string, spec client.NewTerminal) *client.Terminal {
	t.Helper()
	terminal, err := c.OpenTerminal(t.Context(), vm, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal
}

// exits waits for the end of a terminal's program.
func exits(t *testing.T, terminal *client.Terminal, want int) {
	t.Helper()
	if _, err := io.Copy(io.Discard, terminal); err != nil || terminal.ExitCode() != want {
		t.Errorf("the program ended with %d and %v, want %d", terminal.ExitCode(), err, want)
	}
}

func TestTerminal(t *testing.T) {
	h := newHarness(t)
	c, ctx := h.client(), t.Context()
	vm := string(h.vms.add(coppice.VM{}))

	first := openTerminal(t, c, vm, client.NewTerminal{Size: coppice.TerminalSize{Cols: 100, Rows: 30}, Term: "vt220"})
	if first.ID() != "pty-1" {
		t.Errorf("the terminal is called %q", first.ID())
	}
	types(t, first, "echo $HOME $TERM\r")
	until(t, first, "/root vt220\r\n")

	second, err := c.AttachTerminal(ctx, vm, "pty-1", "", coppice.TerminalSize{Cols: 90, Rows: 40})
	if err != nil {
		t.Fatal(err)
	}
	until(t, second, "/root vt220\r\n")
	list, err := c.Terminals(ctx, vm, "")
	if err != nil || len(list.Sessions) != 1 {
		t.Fatalf("%+v %v", list, err)
	}
	if s := list.Sessions[0]; s.SessionID != "pty-1" || !s.Running || s.Cols != 90 || s.Rows != 30 || s.AttachedCount != 2 || s.User != "root" || s.CreatedAtMs == 0 || s.ExitCode != nil {
		t.Errorf("listed as %+v", s)
	}
	if err := second.Resize(coppice.TerminalSize{Cols: 70, Rows: 20}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (string, bool) {
		list, err := c.Terminals(ctx, vm, "")
		return "", err == nil && list.Sessions[0].Cols == 70 && list.Sessions[0].Rows == 20
	})
	types(t, second, "echo by $USER\r")
	until(t, first, "by root\r\n")
	second.Close()
	eventually(t, func() (string, bool) {
		list, err := c.Terminals(ctx, vm, "")
		return "", err == nil && list.Sessions[0].AttachedCount == 1 && list.Sessions[0].Cols == 100
	})
	types(t, first, "exit 3\r")
	exits(t, first, 3)

	again, err := c.AttachTerminal(ctx, vm, "pty-1", "", coppice.TerminalSize{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	until(t, again, "by root")
	exits(t, again, 3)
	if h.vms.inUse != 0 || h.vms.touched == 0 {
		t.Errorf("%d uses have not ended; the VM was touched %d times", h.vms.inUse, h.vms.touched)
	}
}

func TestTerminalSignals(t *testing.T) {
	h := newHarness(t)
	c, vm := h.client(), string(h.vms.add(coppice.VM{}))
	for signal, want := range map[string]int{"SIGINT": 130, "SIGKILL": 137, "SIGTERM": 143} {
		terminal := openTerminal(t, c, vm, client.NewTerminal{Command: "echo started; sleep 3600"})
		until(t, terminal, "started")
		if err := terminal.Signal(signal); err != nil {
			t.Fatal(err)
		}
		exits(t, terminal, want)
	}
	terminal := openTerminal(t, c, vm, client.NewTerminal{ID: "closed", User: "user"})
	closed, err := c.CloseTerminal(t.Context(), vm, "closed", "")
	if err != nil || closed.ExitCode == nil || *closed.ExitCode != 129 {
		t.Errorf("closed: %+v %v", closed, err)
	}
	exits(t, terminal, 129)
}

func TestTerminalRefusals(t *testing.T) {
	h := newHarness(t)
	c, ctx, vm := h.client(), t.Context(), string(h.vms.add(coppice.VM{}))
	openTerminal(t, c, vm, client.NewTerminal{ID: "roots"})
	refusal := func(terminal *client.Terminal, err error) error {
		if err == nil {
			terminal.Close()
		}
		return err
	}
	open := func(spec client.NewTerminal) error { return refusal(c.OpenTerminal(ctx, vm, spec)) }
	attach := func(id, user string) error { return refusal(c.AttachTerminal(ctx, vm, id, user, usualSize)) }
	for _, test := range []struct {
		err  error
		want coppice.Code
	}{
		{open(client.NewTerminal{ID: "roots"}), coppice.CodeSessionExists},
		{open(client.NewTerminal{ID: "a b"}), coppice.CodeInvalidSessionID},
		{open(client.NewTerminal{Term: "a b"}), coppice.CodeInvalidRequest},
		{attach("a b", ""), coppice.CodeInvalidSessionID},
		{open(client.NewTerminal{Size: coppice.TerminalSize{Cols: 80, Rows: 5000}}), coppice.CodeInvalidRequest},
		{open(client.NewTerminal{User: "nobody-there"}), coppice.CodeUserNotFound},
		{attach("none", ""), coppice.CodeSessionNotFound},
		{attach("roots", "user"), coppice.CodeSessionUser},
		{func() error { _, err := c.CloseTerminal(ctx, vm, "roots", "user"); return err }(), coppice.CodeSessionUser},
		{func() error { _, err := c.Terminals(ctx, string(coppice.NewVMID()), ""); return err }(), coppice.CodeVMNotFound},
	} {
		if coppice.CodeOf(test.err) != test.want {
			t.Errorf("%v, want %s", test.err, test.want)
		}
	}
	for i := range coppice.MaxTerminals - 1 {
		if err := open(client.NewTerminal{Command: "sleep 3600"}); err != nil {
			t.Fatalf("terminal %d: %v", i+2, err)
		}
	}
	if err := open(client.NewTerminal{}); coppice.CodeOf(err) != coppice.CodeSessionCapReached {
		t.Errorf("one more: %v", err)
	}
}

// The frames as they go over the wire, to a client that is none of ours.
func TestTerminalFrames(t *testing.T) {
	h := newHarness(t)
	ctx, vm := t.Context(), string(h.vms.add(coppice.VM{}))
	conn, resp, err := websocket.Dial(ctx, h.url+"/v1/vms/"+vm+"/pty?cols=100&rows=30&exec=cat&sessionId=mine", &websocket.DialOptions{
		HTTPHeader:      http.Header{"Authorization": {"Bearer alice-key"}, "X-Freestyle-Vm-Linux-User-Id": {"user"}},
		CompressionMode: websocket.CompressionContextTakeover,
	})
	if err != nil {
		t.Fatal(err, resp)
	}
	defer conn.CloseNow()
	read := func() (websocket.MessageType, string) {
		t.Helper()
		kind, msg, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return kind, string(msg)
	}
	if kind, msg := read(); kind != websocket.MessageText || msg != `{"type":"sessionInfo","sessionId":"mine"}`+"\n" {
		t.Errorf("first came %v %q", kind, msg)
	}
	send := func(kind websocket.MessageType, msg string) {
		t.Helper()
		if err := conn.Write(ctx, kind, []byte(msg)); err != nil {
			t.Fatal(err)
		}
	}
	send(websocket.MessageBinary, "x")
	if kind, msg := read(); kind != websocket.MessageBinary || !strings.HasPrefix(msg, "x") {
		t.Errorf("the echo is %v %q", kind, msg)
	}
	send(websocket.MessageText, `{"type":"later"}`)
	for _, bad := range []string{"no JSON", `{"type":"resize"}`, `{"type":"resize","cols":80,"rows":100000}`, `{"type":"signal","signal":"SIGNAL"}`} {
		send(websocket.MessageText, bad)
		var e api.TerminalError
		for e.Type == "" {
			if kind, msg := read(); kind == websocket.MessageText && json.Unmarshal([]byte(msg), &e) != nil {
				t.Fatalf("%s is answered %q", bad, msg)
			}
		}
		if e.Type != api.TypeError || e.Code != "INVALID_REQUEST" || e.Message == "" {
			t.Errorf("%s is answered %+v", bad, e)
		}
	}
	send(websocket.MessageText, `{"type":"signal","signal":"SIGKILL"}`)
	for {
		if kind, msg := read(); kind == websocket.MessageText {
			if msg != `{"type":"exited","exitCode":137}`+"\n" {
				t.Errorf("the end is %q", msg)
			}
			break
		}
	}
	if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("after the end: %v, want a close", err)
	}
}

// A sleeper is VMs of which one is suspended and woken, with a guest that keeps its terminals.
type sleeper struct {
	*fakeVMs
	guest *mem.Guest

	mu      sync.Mutex
	session coppice.Session
	line    net.Conn
	wakes   int
}

func (s *sleeper) Use(ctx context.Context, account coppice.AccountID, id coppice.VMID, _ string) (coppice.Session, func(), error) {
	if _, err := s.change(account, id, coppice.Running); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil {
		s.wakes++
		s.session, s.line = memSession(s.guest)
	}
	return s.session, func() {}, nil
}

func (s *sleeper) sleep(t *testing.T, id string, state coppice.State) {
	if _, err := s.change(alice, coppice.VMID(id), state); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line.Close()
	s.session.Close()
	s.session = nil
}

func (s *sleeper) woken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wakes
}

// newSleeper returns a harness whose VMs sleep.
func newSleeper(t *testing.T) (*harness, *sleeper, string) {
	h := newHarness(t)
	s := &sleeper{fakeVMs: h.vms, guest: mem.NewGuest(func(coppice.VMID) {})}
	h.server.config.VMs = s
	t.Cleanup(func() {
		if s.session != nil {
			s.session.Close()
		}
		endTerminals(&fakeGuest{terminals: func() coppice.Session {
			session, _ := memSession(s.guest)
			return session
		}})
	})
	return h, s, string(h.vms.add(coppice.VM{}))
}

// A connection stays while the VM sleeps, and does not keep it from that.
func TestTerminalOfAVMThatSleeps(t *testing.T) {
	h, s, vm := newSleeper(t)
	terminal := openTerminal(t, h.client(), vm, client.NewTerminal{})
	types(t, terminal, "echo $HOME\r")
	until(t, terminal, "/root\r\n")

	s.sleep(t, vm, coppice.Suspended)
	if err := terminal.Resize(coppice.TerminalSize{Cols: 99, Rows: 33}); err != nil {
		t.Fatal(err)
	}
	types(t, terminal, "") // nothing is typed, so nothing is woken
	types(t, terminal, "echo typed $USER\r")
	until(t, terminal, "/root\r\n") // the screen, again
	until(t, terminal, "typed root\r\n")
	if s.woken() != 2 {
		t.Errorf("the VM was woken %d times", s.woken()-1)
	}
	list, err := h.client().Terminals(t.Context(), vm, "")
	if err != nil || list.Sessions[0].Cols != 99 {
		t.Errorf("after a resize while it slept: %+v %v", list, err)
	}

	s.sleep(t, vm, coppice.Suspended)
	if _, _, err := s.Use(t.Context(), alice, coppice.VMID(vm), ""); err != nil { // somebody else
		t.Fatal(err)
	}
	until(t, terminal, "typed root\r\n")

	s.sleep(t, vm, coppice.Stopped)
	_, err = io.Copy(io.Discard, terminal)
	if coppice.CodeOf(err) != coppice.CodeVMNotRunning {
		t.Errorf("when the VM was stopped: %v, want %s", err, coppice.CodeVMNotRunning)
	}
}

func TestTerminalOfADaemonThatLeaves(t *testing.T) {
	h, _, vm := newSleeper(t)
	terminal := openTerminal(t, h.client(), vm, client.NewTerminal{})
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, terminal)
		ended <- err
	}()
	if err := h.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := <-ended
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != websocket.StatusGoingAway {
		t.Errorf("when the daemon left: %v", err)
	}
}

// Whatever comes is refused, or asks for something that can be done.
func FuzzTerminalInput(f *testing.F) {
	f.Add(true, []byte(`{"type":"resize","cols":80,"rows":24}`))
	f.Add(true, []byte(`{"type":"signal","signal":"SIGINT"}`))
	f.Add(false, []byte("typed"))
	f.Fuzz(func(t *testing.T, text bool, msg []byte) {
		kind := websocket.MessageBinary
		if text {
			kind = websocket.MessageText
		}
		in, err := parseInput(kind, msg)
		if err != nil {
			if coppice.CodeOf(err) != coppice.CodeInvalidRequest || len(err.Error()) > 400 {
				t.Errorf("%q is refused with %v", msg, err)
			}
			return
		}
		if in.size != (coppice.TerminalSize{}) && !in.size.Valid() {
			t.Errorf("%q asks for %+v", msg, in.size)
		}
		if !text && !bytes.Equal(in.typed, msg) {
			t.Errorf("%q types %q", msg, in.typed)
		}
	})
}

// A breaker is a sleeper whose terminals break whenever they are attached to again.
type breaker struct {
	*sleeper
	attached atomic.Int64
}

func (b *breaker) Use(ctx context.Context, account coppice.AccountID, id coppice.VMID, why string) (coppice.Session, func(), error) {
	session, release, err := b.sleeper.Use(ctx, account, id, why)
	return breakingGuest{session, b}, release, err
}

type breakingGuest struct {
	coppice.Session
	breaker *breaker
}

func (g breakingGuest) Terminals(user string) coppice.GuestTerminals {
	return breakingTerminals{g.Session.Terminals(user), g.breaker}
}

type breakingTerminals struct {
	coppice.GuestTerminals
	breaker *breaker
}

func (b breakingTerminals) Attach(ctx context.Context, id string, size coppice.TerminalSize, typist *coppice.Typist) (coppice.Terminal, error) {
	b.breaker.attached.Add(1)
	terminal, err := b.GuestTerminals.Attach(ctx, id, size, typist)
	return breakingTerminal{terminal}, err
}

type breakingTerminal struct{ coppice.Terminal }

func (breakingTerminal) Read([]byte) (int, error)  { return 0, coppice.ErrGuestGone }
func (breakingTerminal) Write([]byte) (int, error) { return 0, coppice.ErrGuestGone }

// A terminal that breaks again and again is given up, not attached to for ever.
func TestTerminalThatBreaks(t *testing.T) {
	h, s, vm := newSleeper(t)
	b := &breaker{sleeper: s}
	h.server.config.VMs = b
	terminal := openTerminal(t, h.client(), vm, client.NewTerminal{})
	types(t, terminal, "echo $HOME\r")
	until(t, terminal, "/root\r\n")
	s.sleep(t, vm, coppice.Suspended)
	types(t, terminal, "x")
	if _, err := io.Copy(io.Discard, terminal); err == nil {
		t.Error("its end is no error")
	}
	if n := b.attached.Load(); n != maxBreaks {
		t.Errorf("it was attached to %d times, want %d", n, maxBreaks)
	}
}

// A dozer is a sleeper that falls asleep over the first thing that is typed, and has taken it.
type dozer struct {
	*sleeper
	doze func()
}

func (d dozer) Use(ctx context.Context, account coppice.AccountID, id coppice.VMID, why string) (coppice.Session, func(), error) {
	session, release, err := d.sleeper.Use(ctx, account, id, why)
	return dozingGuest{session, d.doze}, release, err
}

type dozingGuest struct {
	coppice.Session
	doze func()
}

func (g dozingGuest) Terminals(user string) coppice.GuestTerminals {
	return dozingTerminals{g.Session.Terminals(user), g.doze}
}

type dozingTerminals struct {
	coppice.GuestTerminals
	doze func()
}

func (d dozingTerminals) Open(ctx context.Context, spec coppice.TerminalSpec) (coppice.Terminal, error) {
	terminal, err := d.GuestTerminals.Open(ctx, spec)
	return &dozingTerminal{terminal, d.doze, make(chan struct{})}, err
}

type dozingTerminal struct {
	coppice.Terminal
	doze   func()
	asleep chan struct{}
}

func (d *dozingTerminal) Read([]byte) (int, error) {
	<-d.asleep
	return 0, coppice.ErrGuestGone
}

func (d *dozingTerminal) Write(p []byte) (int, error) {
	defer close(d.asleep)
	defer d.doze()
	return d.Terminal.Write(p)
}

// What a guest has taken and fallen asleep over is answered, though nothing more is typed.
func TestTerminalFallsAsleepOverInput(t *testing.T) {
	h, s, vm := newSleeper(t)
	h.server.config.VMs = dozer{s, func() { s.sleep(t, vm, coppice.Suspended) }}
	terminal := openTerminal(t, h.client(), vm, client.NewTerminal{})
	types(t, terminal, "echo typed $USER\r")
	until(t, terminal, "typed root\r\n")
	if s.woken() != 2 {
		t.Errorf("the VM was woken %d times, want once", s.woken()-1)
	}
}
