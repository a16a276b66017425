package guest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// An act is how a guest answers a request.
type act func(net.Conn)

// says is an act that sends frames of JSON.
func says(answers ...any) act {
	return func(c net.Conn) {
		for _, answer := range answers {
			wire.WriteJSON(c, wire.Head, answer)
		}
	}
}

// sends is an act that sends a frame of another kind.
func sends(kind wire.Kind, content string) act {
	return func(c net.Conn) { wire.Write(c, kind, []byte(content)) }
}

// then is one act after the other.
func then(acts ...act) act {
	return func(c net.Conn) {
		for _, act := range acts {
			act(c)
		}
	}
}

// endlessly is an act that is done over and over, as long as anybody takes it.
func endlessly(again act) act {
	return func(c net.Conn) {
		broken := &brokenConn{Conn: c}
		for !broken.is {
			again(broken)
		}
	}
}

// A brokenConn remembers that it has failed.
type brokenConn struct {
	net.Conn
	is bool
}

func (c *brokenConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.is = c.is || err != nil
	return n, err
}

// listens is an act that says nothing, up to the end.
func listens(c net.Conn) { io.Copy(io.Discard, c) }

// actor is a guest that acts; it does what it does not know how to act.
func actor(t testing.TB, acts map[wire.Op]act) coppice.Session {
	t.Helper()
	s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), liar(t, func(req wire.Request, c net.Conn) {
		if act := acts[req.Op]; act != nil {
			act(c)
			return
		}
		wire.WriteJSON(c, wire.Head, wire.Done{})
	}), alice)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var (
	window = coppice.TerminalSize{Cols: 80, Rows: 24}
	known  = wire.TerminalInfo{ID: "x", User: "root", Size: window, Attached: 1}
	honest = says(wire.Attached{TerminalInfo: known, Types: true})
)

// lied is a terminal of which something is changed.
func lied(change func(*wire.Attached)) any {
	attached := wire.Attached{TerminalInfo: known, Types: true}
	change(&attached)
	return attached
}

// inTime fails if do does not return soon.
func inTime(t testing.TB, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: it hangs", what)
	}
}

// What cannot be of a terminal is not believed.
func TestTerminalLies(t *testing.T) {
	attachments := map[string]act{
		"silence":           func(net.Conn) {},
		"a negative replay": says(lied(func(a *wire.Attached) { a.Replay = -1 })),
		"no id":             says(lied(func(a *wire.Attached) { a.ID = "" })),
		"a path for an id":  says(lied(func(a *wire.Attached) { a.ID = "../x" })),
		"a long id":         says(lied(func(a *wire.Attached) { a.ID = strings.Repeat("x", 60_000) })),
		"another's id":      says(lied(func(a *wire.Attached) { a.ID = "y" })),
		"no size":           says(lied(func(a *wire.Attached) { a.Size = coppice.TerminalSize{} })),
		"a huge size":       says(lied(func(a *wire.Attached) { a.Size.Rows = 1 << 40 })),
		"a huge crowd":      says(lied(func(a *wire.Attached) { a.Attached = 1 << 62 })),
		"a negative crowd":  says(lied(func(a *wire.Attached) { a.Attached = -1 })),
		"a huge status":     says(lied(func(a *wire.Attached) { a.Ended = &wire.Ended{Code: 1 << 40} })),
		"a strange signal":  says(lied(func(a *wire.Attached) { a.Ended = &wire.Ended{Signal: "SIGNAL"} })),
		"no number":         sends(wire.Head, `{"ID":"x","Size":{"Cols":80,"Rows":24},"Replay":1e99}`),
		"another type":      says([]string{"x"}),
		"data":              sends(wire.Data, "x"),
		"a refusal":         sends(wire.Fail, `{"Cause":"ended","Message":"`+strings.Repeat(`\u001b`, 8000)+`"}`),
	}
	for name, answer := range attachments {
		t.Run("attach/"+name, func(t *testing.T) {
			s := actor(t, map[wire.Op]act{wire.OpTerminal: answer})
			inTime(t, "attach", func() {
				_, err := s.Terminals("").Attach(t.Context(), "x", window, nil)
				if err == nil || len(err.Error()) > 2000 || strings.Contains(err.Error(), "\x1b") {
					t.Errorf("it was believed, or said too much: %q", err)
				}
			})
			must(t, s.Shutdown(t.Context()))
		})
	}

	for name, output := range map[string]act{
		"silence":           then(),
		"a huge status":     says(wire.Ended{Code: 256}),
		"a negative status": says(wire.Ended{Code: -1}),
		"a strange signal":  says(wire.Ended{Signal: "SIGNAL"}),
		"an end of content": sends(wire.End, ""),
		"another stream":    sends(wire.Stderr, "x"),
		"no kind":           func(c net.Conn) { io.WriteString(c, "?\x00\x00\x00\x00") },
		"a huge frame":      func(c net.Conn) { io.WriteString(c, "d\xff\xff\xff\xff") },
		"half a frame":      func(c net.Conn) { io.WriteString(c, "d\x00\x00\x01\x00x") },
	} {
		t.Run("output/"+name, func(t *testing.T) {
			s := actor(t, map[wire.Op]act{wire.OpTerminal: then(honest, sends(wire.Data, "shown"), output)})
			terminal, err := s.Terminals("").Attach(t.Context(), "x", window, nil)
			must(t, err)
			defer terminal.Close()
			inTime(t, "read", func() {
				if shown, err := io.ReadAll(terminal); string(shown) != "shown" || !errors.Is(err, coppice.ErrGuestGone) {
					t.Errorf("read %q, %v, want ErrGuestGone", shown, err)
				}
			})
			if exit := terminal.Exit(); exit != (coppice.TerminalExit{}) {
				t.Errorf("it is said to have ended with %+v", exit)
			}
			must(t, s.Shutdown(t.Context()))
		})
	}

	for name, list := range map[string]act{
		"silence":    then(),
		"no end":     endlessly(says(known)),
		"a bad id":   then(says(known, wire.TerminalInfo{ID: "a b", Size: window}), sends(wire.End, "")),
		"no size":    then(says(wire.TerminalInfo{ID: "x"}), sends(wire.End, "")),
		"data":       endlessly(sends(wire.Data, "x")),
		"a cut list": says(known, known),
	} {
		t.Run("list/"+name, func(t *testing.T) {
			s := actor(t, map[wire.Op]act{wire.OpTerminals: list, wire.OpHangup: list})
			inTime(t, "list", func() {
				if all, err := s.Terminals("").List(t.Context()); err == nil {
					t.Errorf("%d were believed", len(all))
				}
				if info, err := s.Terminals("").Close(t.Context(), "x"); err == nil && info.ID != "x" {
					t.Errorf("what was closed is %+v", info)
				}
			})
			must(t, s.Shutdown(t.Context()))
		})
	}
}

// After the end nothing comes.
func TestTerminalGoesOnAfterItsEnd(t *testing.T) {
	s := actor(t, map[wire.Op]act{wire.OpTerminal: then(
		honest, sends(wire.Data, "shown"), says(wire.Ended{Code: 3}), says(wire.Ended{Code: 4}), endlessly(sends(wire.Data, "more")),
	)})
	terminal, err := s.Terminals("").Attach(t.Context(), "x", window, nil)
	must(t, err)
	defer terminal.Close()
	inTime(t, "read", func() {
		if shown, err := io.ReadAll(terminal); string(shown) != "shown" || err != nil {
			t.Errorf("read %q, %v", shown, err)
		}
	})
	for range 3 {
		if n, err := terminal.Read(make([]byte, 10)); n != 0 || err != io.EOF {
			t.Errorf("after the end: %d bytes, %v", n, err)
		}
	}
	if terminal.Exit().Code != 3 {
		t.Errorf("it ended with %+v", terminal.Exit())
	}
}

// However much is said to draw the screen, it is what comes that is read.
func TestTerminalReplayLies(t *testing.T) {
	s := actor(t, map[wire.Op]act{wire.OpTerminal: then(
		says(lied(func(a *wire.Attached) { a.Replay = 1 << 62 })), sends(wire.Data, "little"), says(wire.Ended{}),
	)})
	terminal, err := s.Terminals("").Attach(t.Context(), "x", window, nil)
	must(t, err)
	defer terminal.Close()
	if shown, err := io.ReadAll(terminal); string(shown) != "little" || err != nil {
		t.Errorf("read %q, %v", shown, err)
	}
}

// A flood that nobody reads costs no more than a stream's buffer, and holds up nobody.
func TestTerminalFlood(t *testing.T) {
	var taken atomic.Int64
	flood := func(kind wire.Kind, content string) act {
		return endlessly(func(c net.Conn) {
			if wire.Write(c, kind, []byte(content)) == nil {
				taken.Add(int64(len(content)))
			}
		})
	}
	for name, acts := range map[string]map[wire.Op]act{
		"output":           {wire.OpTerminal: then(honest, flood(wire.Data, strings.Repeat("x", wire.MaxData)))},
		"replay":           {wire.OpTerminal: then(says(lied(func(a *wire.Attached) { a.Replay = 1 << 62 })), flood(wire.Data, strings.Repeat("x", wire.MaxData)))},
		"nothing":          {wire.OpTerminal: then(honest, flood(wire.Data, ""))},
		"acknowledgements": {wire.OpTerminal: then(honest, listens), wire.OpType: flood(wire.Head, "{}")},
	} {
		t.Run(name, func(t *testing.T) {
			taken.Store(0)
			s := actor(t, acts)
			terminal, err := s.Terminals("").Attach(t.Context(), "x", window, nil)
			must(t, err)
			inTime(t, "write and call", func() {
				if acts[wire.OpType] != nil {
					terminal.Write([]byte("x")) // what comes of it is up to the guest
				}
				for range 20 {
					must(t, s.Shutdown(t.Context()))
				}
			})
			if n := taken.Load(); n > 1<<20 {
				t.Errorf("%d bytes were taken that nobody reads", n)
			}
			inTime(t, "close", func() { terminal.Close() })
			inTime(t, "close the session", func() { s.Close() })
		})
	}
}

// What a guest says of what is typed is an acknowledgement, a refusal, or the end.
func TestTypingLies(t *testing.T) {
	for name, test := range map[string]struct {
		act  act
		want error
	}{
		"silence":      {then(), coppice.ErrGuestGone},
		"data":         {sends(wire.Data, "x"), coppice.ErrGuestGone},
		"another type": {says([]int{1}), coppice.ErrGuestGone},
		"no JSON":      {sends(wire.Head, "{["), coppice.ErrGuestGone},
		"a huge frame": {func(c net.Conn) { io.WriteString(c, "h\xff\xff\xff\xff") }, coppice.ErrGuestGone},
		"an end":       {sends(wire.Fail, `{"Cause":"ended"}`), io.ErrClosedPipe},
	} {
		t.Run(name, func(t *testing.T) {
			s := actor(t, map[wire.Op]act{wire.OpTerminal: then(honest, listens), wire.OpType: test.act})
			typist := coppice.NewTypist()
			terminal, err := s.Terminals("").Attach(t.Context(), "x", window, typist)
			must(t, err)
			defer terminal.Close()
			inTime(t, "write", func() {
				for range 2 {
					if n, err := terminal.Write(make([]byte, 100_000)); n != 0 || !errors.Is(err, test.want) {
						t.Errorf("%d bytes are said to be typed, %v, want %v", n, err, test.want)
					}
				}
			})
			if typist.Typed != 0 {
				t.Errorf("the typist has typed %d bytes", typist.Typed)
			}
			must(t, s.Shutdown(t.Context()))
		})
	}
	// More acknowledgements than there is to acknowledge are of nothing.
	s := actor(t, map[wire.Op]act{wire.OpTerminal: then(honest, listens), wire.OpType: then(says(wire.Done{}, wire.Done{}, wire.Done{}), listens)})
	typist := coppice.NewTypist()
	terminal, err := s.Terminals("").Attach(t.Context(), "x", window, typist)
	must(t, err)
	defer terminal.Close()
	inTime(t, "write", func() {
		if n, err := terminal.Write([]byte("abc")); n != 3 || err != nil || typist.Typed != 3 {
			t.Errorf("typed %d bytes, %d by the typist, %v", n, typist.Typed, err)
		}
	})
	// And if none comes, Close ends the wait.
	s = actor(t, map[wire.Op]act{wire.OpTerminal: then(honest, listens), wire.OpType: listens})
	terminal, err = s.Terminals("").Attach(t.Context(), "x", window, nil)
	must(t, err)
	inTime(t, "write and close", func() {
		written := make(chan error, 1)
		go func() {
			_, err := terminal.Write([]byte("abc"))
			written <- err
		}()
		must(t, s.Shutdown(t.Context()))
		terminal.Close()
		if err := <-written; !errors.Is(err, coppice.ErrGuestGone) {
			t.Errorf("a Write that was ended: %v, want ErrGuestGone", err)
		}
	})
}

// A guest that takes up no streams costs each caller no more time than it has.
func TestNoStreamTakenUp(t *testing.T) {
	s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), enemy(t, func(conn *wire.Conn) {
		mux, err := wire.Server(conn)
		if err != nil {
			return
		}
		defer mux.Close()
		stream, err := mux.AcceptStream()
		if err != nil {
			return
		}
		frames := wire.NewReader(stream)
		frames.Answer(new(wire.Request))
		for step := (wire.Step{}); !step.Last; {
			if frames.Answer(&step) != nil {
				return
			}
			if !step.Last {
				wire.WriteJSON(stream, wire.Head, wire.Clock{Now: time.Now().UnixNano()})
			}
		}
		wire.WriteJSON(stream, wire.Head, wire.Identified{})
		<-mux.CloseChan()
	}), alice)
	must(t, err)
	defer s.Close()
	inTime(t, "more calls than there are streams", func() {
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				for range wire.Streams / 50 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
					if err := s.Shutdown(ctx); err == nil {
						t.Error("nobody has shut down")
					}
					cancel()
				}
			})
		}
		callers.Wait()
	})
}

// Whatever a guest says about terminals, it is an error or can be.
func FuzzTerminals(f *testing.F) {
	frame := func(kind wire.Kind, content string) []byte {
		var b bytes.Buffer
		wire.Write(&b, kind, []byte(content))
		return b.Bytes()
	}
	attached := frame(wire.Head, `{"ID":"x","User":"root","Size":{"Cols":80,"Rows":24},"Attached":1,"Replay":3,"Types":true}`)
	done, ended := frame(wire.Head, "{}"), frame(wire.Head, `{"At":1,"Code":137,"Signal":"SIGKILL"}`)
	f.Add(attached, done)
	f.Add(bytes.Join([][]byte{attached, frame(wire.Data, "abc"), ended, ended}, nil), frame(wire.Fail, `{"Cause":"ended","Message":"over"}`))
	f.Add(bytes.Join([][]byte{attached, attached, frame(wire.End, "")}, nil), append(done, done...))
	f.Add(frame(wire.Head, `{"ID":"x","Size":{"Cols":80,"Rows":24},"Replay":-1}`), frame(wire.Data, "x"))
	f.Add(frame(wire.Fail, `{"Cause":"no terminal","Message":"\u001b"}`), []byte{})
	f.Fuzz(func(t *testing.T, says, typing []byte) {
		answer := func(what []byte) act { return func(c net.Conn) { c.Write(what) } }
		s := actor(t, map[wire.Op]act{
			wire.OpTerminal: answer(says), wire.OpTerminals: answer(says), wire.OpHangup: answer(says), wire.OpType: answer(typing),
		})
		check := func(info coppice.TerminalInfo) {
			exit := info.Exit
			if !coppice.ValidTerminalID(info.ID) || !info.Size.Valid() || info.Attached < 0 || exit.Code < 0 || exit.Code > 255 ||
				strings.ContainsRune(info.User+info.Command, 0x1b) {
				t.Errorf("a terminal is %+v", info)
			}
		}
		inTime(t, "something", func() {
			typist := coppice.NewTypist()
			if terminal, err := s.Terminals("").Attach(t.Context(), "x", window, typist); err == nil {
				check(terminal.Info())
				n, _ := terminal.Write(make([]byte, 2*wire.MaxData))
				_, err := io.Copy(io.Discard, terminal)
				exit := terminal.Exit()
				if terminal.Replay() < 0 || int64(n) != typist.Typed || exit.Code < 0 || exit.Code > 255 {
					t.Errorf("replay %d, typed %d and %d, %v, ended with %+v", terminal.Replay(), n, typist.Typed, err, exit)
				}
				terminal.Close()
			}
			if all, err := s.Terminals("").List(t.Context()); err == nil {
				for _, info := range all {
					check(info)
				}
			}
			if info, err := s.Terminals("").Close(t.Context(), "x"); err == nil {
				check(info)
			}
		})
	})
}
