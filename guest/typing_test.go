package guest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// A valve is a way to a machine that can be shut in one direction: what is sent then is lost.
type valve struct {
	*machine
	toGuest, toHost atomic.Bool // shut
}

type valvedConn struct {
	net.Conn
	*valve
}

func (v *valve) dial(ctx context.Context) (net.Conn, error) {
	v.toGuest.Store(false)
	v.toHost.Store(false)
	conn, err := v.machine.dial(ctx)
	return valvedConn{conn, v}, err
}

func (c valvedConn) Write(p []byte) (int, error) {
	if c.toGuest.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c valvedConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.toHost.Load() {
			return n, err
		}
	}
}

// read waits until a file of a machine has some content.
func (m *machine) read(t *testing.T, name, want string) {
	t.Helper()
	var got []byte
	for deadline := time.Now().Add(30 * time.Second); string(got) != want; {
		if time.Now().After(deadline) {
			t.Fatalf("%s has %q, want %q", name, got, want)
		}
		time.Sleep(time.Millisecond)
		got, _ = os.ReadFile(filepath.Join(m.root, name))
	}
}

// A connection breaks while something is typed: what the guest had taken and not said so, and
// what had not got there, are written again and typed once.
func TestTypingAcrossABreak(t *testing.T) {
	for name, taken := range map[string]bool{"taken": true, "not taken": false} {
		t.Run(name, func(t *testing.T) {
			v := &valve{machine: boot(t)}
			s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), v.dial, alice)
			must(t, err)
			defer s.Close()
			typist, size := coppice.NewTypist(), coppice.TerminalSize{Cols: 80, Rows: 24}
			terminal, err := s.Terminals("").Open(t.Context(), coppice.TerminalSpec{
				ID: "x", Command: "cat >>typed", Dir: v.root, Size: size, Typist: typist,
			})
			must(t, err)
			defer terminal.Close()
			n, err := terminal.Write([]byte("one\r"))
			must(t, err)
			v.read(t, "typed", "one\n")

			valve := &v.toGuest
			if taken {
				valve = &v.toHost
			}
			valve.Store(true)
			written := make(chan error, 1)
			go func() {
				var err error
				n, err = terminal.Write([]byte("two\rthree\r"))
				written <- err
			}()
			if taken {
				v.read(t, "typed", "one\ntwo\nthree\n")
			}
			select {
			case err := <-written:
				t.Fatalf("%d bytes of which nothing was heard are said to be written, %v", n, err)
			case <-time.After(100 * time.Millisecond):
			}
			v.hangUp()
			if err := <-written; n != 0 || !errors.Is(err, coppice.ErrGuestGone) {
				t.Fatalf("when the connection broke: %d, %v, want ErrGuestGone", n, err)
			}

			again, err := s.Terminals("").Attach(t.Context(), "x", size, typist)
			must(t, err)
			defer again.Close()
			if n, err = again.Write([]byte("two\rthree\rfour\r\x04")); n != 16 || err != nil {
				t.Errorf("written again: %d, %v", n, err)
			}
			if _, err := io.Copy(io.Discard, again); err != nil {
				t.Error(err)
			}
			v.read(t, "typed", "one\ntwo\nthree\nfour\n")
			if _, err := again.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("typing after the end: %v, want ErrClosedPipe", err)
			}
		})
	}
}

// Who looks on and does not read can type, and hears that it was taken; also
// much, and also that the program has ended.
func TestTypingWithoutReading(t *testing.T) {
	m := boot(t)
	s := connect(t, m, alice)
	terminal, err := s.Terminals("").Open(t.Context(), coppice.TerminalSpec{
		Command: "stty raw; echo >ready; yes & head -c 1048576 | tail -c 5 >typed; kill $!", Dir: m.root, Size: coppice.TerminalSize{Cols: 80, Rows: 24},
	})
	must(t, err)
	defer terminal.Close()
	m.read(t, "ready", "\n")
	began := time.Now()
	n, err := terminal.Write(append(bytes.Repeat([]byte("x"), 1<<20-5), "12345"...))
	if n != 1<<20 || err != nil {
		t.Fatalf("of a MiB %d bytes were typed, %v", n, err)
	}
	t.Logf("1 MiB in %v", time.Since(began))
	m.read(t, "typed", "12345")
	for err == nil {
		_, err = terminal.Write([]byte("x"))
	}
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("typing when the program has ended: %v, want ErrClosedPipe", err)
	}
}

// Close ends a Write that waits.
func TestTypingIsGivenUp(t *testing.T) {
	s := connect(t, boot(t), alice)
	terminal, err := s.Terminals("").Open(t.Context(), coppice.TerminalSpec{Command: "stty raw; sleep 3600", Size: coppice.TerminalSize{Cols: 80, Rows: 24}})
	must(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := terminal.Write(make([]byte, 4<<20))
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("nobody reads, and Write returned %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	must(t, terminal.Close())
	if err := <-ended; !errors.Is(err, coppice.ErrGuestGone) {
		t.Errorf("when the terminal was closed: %v, want ErrGuestGone", err)
	}
}

// An agent from before there were typists says nothing of what it takes.
func TestTypingToAnOldAgent(t *testing.T) {
	typed := make(chan string, 1)
	s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), liar(t, func(req wire.Request, c net.Conn) {
		if req.Op != wire.OpTerminal {
			wire.WriteJSON(c, wire.Head, wire.Done{})
			return
		}
		wire.Write(c, wire.Head, []byte(`{"ID":"x","User":"root","Size":{"Cols":80,"Rows":24},"Attached":1,"Replay":0}`))
		frame, err := wire.NewReader(c).Next(wire.MaxFrame)
		if err == nil {
			typed <- string(frame.Content)
		}
		wire.WriteJSON(c, wire.Head, wire.Ended{})
	}), alice)
	must(t, err)
	defer s.Close()
	terminal, err := s.Terminals("").Attach(t.Context(), "x", coppice.TerminalSize{Cols: 80, Rows: 24}, nil)
	must(t, err)
	defer terminal.Close()
	if n, err := terminal.Write([]byte("hello")); n != 5 || err != nil {
		t.Errorf("typed %d bytes, %v", n, err)
	}
	if got := <-typed; got != "hello" {
		t.Errorf("the guest got %q", got)
	}
	if _, err := terminal.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("its end is %v", err)
	}
}
