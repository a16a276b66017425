package guest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// enemy returns a dial function to a guest that does what it likes once it has
// taken up a connection. The test ends when the guest has come to an end.
func enemy(t testing.TB, do func(*wire.Conn)) func(context.Context) (net.Conn, error) {
	var guests sync.WaitGroup
	t.Cleanup(guests.Wait)
	return func(context.Context) (net.Conn, error) {
		host, guest := net.Pipe()
		guests.Go(func() {
			defer guest.Close()
			if conn, err := wire.NewListener(guest).Accept(); err == nil {
				do(conn)
			}
		})
		return host, nil
	}
}

// liar is a guest that keeps to the rules until it has an identity, and then
// answers every request by lie.
func liar(t testing.TB, lie func(wire.Request, net.Conn)) func(context.Context) (net.Conn, error) {
	return enemy(t, func(conn *wire.Conn) {
		mux, err := wire.Server(conn)
		if err != nil {
			return
		}
		defer mux.Close()
		var streams sync.WaitGroup
		defer streams.Wait()
		for {
			stream, err := mux.AcceptStream()
			if err != nil {
				return
			}
			streams.Go(func() {
				defer stream.Close()
				frames := wire.NewReader(stream)
				var req wire.Request
				if frames.Answer(&req) != nil {
					return
				}
				if req.Op != wire.OpIdentify {
					lie(req, stream)
					return
				}
				takeIdentity(frames, stream)
			})
		}
	})
}

// takeIdentity answers an identity as it should be.
func takeIdentity(frames *wire.Reader, stream net.Conn) {
	for step := (wire.Step{}); !step.Last; {
		if frames.Answer(&step) != nil {
			return
		}
		if !step.Last {
			wire.WriteJSON(stream, wire.Head, wire.Clock{Now: time.Now().UnixNano()})
		}
	}
	wire.WriteJSON(stream, wire.Head, wire.Identified{})
}

func TestLies(t *testing.T) {
	head := func(v any) func(wire.Request, net.Conn) {
		return func(_ wire.Request, c net.Conn) { wire.WriteJSON(c, wire.Head, v) }
	}
	raw := func(s string) func(wire.Request, net.Conn) {
		return func(_ wire.Request, c net.Conn) { io.WriteString(c, s) }
	}
	directory := func(listing string) func(wire.Request, net.Conn) {
		return func(_ wire.Request, c net.Conn) {
			wire.WriteJSON(c, wire.Head, wire.FileInfo{Mode: 1 << 31})
			wire.Write(c, wire.Data, []byte(listing))
			wire.Write(c, wire.End, nil)
		}
	}
	for name, lie := range map[string]func(wire.Request, net.Conn){
		"says nothing":           func(wire.Request, net.Conn) {},
		"a huge frame":           raw("d\xFF\xFF\xFF\xFF"),
		"a frame of no kind":     raw("?\x00\x00\x00\x00"),
		"half a frame":           raw("h\x00\x00\x01\x00{"),
		"no JSON":                raw("h\x00\x00\x00\x02{["),
		"a status out of bounds": head(wire.Exited{Code: 1 << 40}),
		"a negative status":      head(wire.Exited{Code: -1}),
		"another type":           head([]string{"x"}),
		"a name with a slash":    directory("f../../etc/passwd\x00"),
		"an empty name":          directory("f\x00"),
		"an empty entry":         directory("\x00"),
		"an unfinished name":     directory("fname"),
		"content without an end": func(_ wire.Request, c net.Conn) { wire.Write(c, wire.Data, []byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), liar(t, lie), alice)
			must(t, err)
			defer s.Close()
			_, execErr := s.Exec(t.Context(), coppice.ExecSpec{Command: "true"}, coppice.Stdio{})
			f, openErr := s.Files("").Open(t.Context(), "x")
			if openErr == nil && f.Content != nil {
				_, openErr = io.ReadAll(f.Content)
				f.Content.Close()
			}
			if execErr == nil && openErr == nil {
				t.Error("both were believed")
			}
			t.Logf("exec: %v; open: %v", execErr, openErr)
		})
	}
}

// A directory, like everything, ends somewhere.
func TestEndlessListing(t *testing.T) {
	listing := bytes.Repeat([]byte("f"+strings.Repeat("x", 254)+"\x00"), 100)
	s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), liar(t, func(_ wire.Request, c net.Conn) {
		wire.WriteJSON(c, wire.Head, wire.FileInfo{Mode: 1 << 31})
		for wire.Write(c, wire.Data, listing) == nil {
		}
	}), alice)
	must(t, err)
	defer s.Close()
	if f, err := s.Files("").Open(t.Context(), "x"); err == nil {
		t.Errorf("a listing of %d names was believed", len(f.Entries))
	}
}

// A guest can say nothing about a connection that is more than its content.
func TestSocketLies(t *testing.T) {
	for name, after := range map[string]string{
		"nothing":            "",
		"a huge frame":       "d\xFF\xFF\xFF\xFF",
		"a frame of no kind": "?\x00\x00\x00\x00",
		"half a header":      "d\x00\x00",
		"half a frame":       "d\x00\x00\x01\x00x",
		"an answer":          "h\x00\x00\x00\x02{}",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), liar(t, func(_ wire.Request, c net.Conn) {
				wire.WriteJSON(c, wire.Head, wire.Done{})
				io.WriteString(c, after)
			}), alice)
			must(t, err)
			defer s.Close()
			conn, err := s.Dial(t.Context(), "", "tcp", "localhost:80")
			must(t, err)
			defer conn.Close()
			if content, err := io.ReadAll(conn); err == nil {
				t.Errorf("%d bytes were taken for a whole content", len(content))
			}
			l, err := s.Listen(t.Context(), "", "tcp", "localhost:80")
			must(t, err)
			defer l.Close()
			if _, err := l.Accept(); err == nil {
				t.Error("a connection was taken from a guest that has none")
			}
		})
	}
}

// muxFrame is a frame of yamux.
func muxFrame(kind byte, flags uint16, stream, length uint32) []byte {
	frame := []byte{0, kind}
	frame = binary.BigEndian.AppendUint16(frame, flags)
	frame = binary.BigEndian.AppendUint32(frame, stream)
	return binary.BigEndian.AppendUint32(frame, length)
}

// What an agent never does ends the connection rather than costing memory.
func TestFloods(t *testing.T) {
	for name, flood := range map[string][]byte{
		"pings":        muxFrame(muxPing, muxSYN, 0, 1),
		"streams":      muxFrame(muxWindow, muxSYN, 2, 0),
		"a huge frame": muxFrame(muxData, 0, 1, 1<<30),
		"windows":      muxFrame(muxWindow, 0, 1, 1<<30),
		"a farewell":   muxFrame(3, 0, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 10)
			dial := enemy(t, func(conn *wire.Conn) {
				go io.Copy(io.Discard, conn)
				for {
					if _, err := conn.Write(flood); err != nil {
						ended <- err
						return
					}
				}
			})
			conn, err := dial(t.Context())
			must(t, err)
			defer conn.Close()
			l, err := shakeHands(t.Context(), conn, 10*time.Second)
			must(t, err)
			<-l.mux.CloseChan() // by the guard, or this takes for ever
			l.close()
			<-ended
		})
	}
}

// A guest that goes silent in the middle costs the caller no more time than it had.
func TestSilence(t *testing.T) {
	guest := New(slog.New(slog.DiscardHandler))
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	// After the greeting.
	deaf := enemy(t, func(conn *wire.Conn) { io.Copy(io.Discard, conn) })
	if _, err := guest.Connect(soon(), deaf, alice); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connect: %v, want DeadlineExceeded", err)
	}
	// After a request.
	s, err := guest.Connect(t.Context(), liar(t, func(_ wire.Request, c net.Conn) { io.Copy(io.Discard, c) }), alice)
	must(t, err)
	defer s.Close()
	if _, err := s.Exec(soon(), coppice.ExecSpec{Command: "true"}, coppice.Stdio{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("exec: %v, want DeadlineExceeded", err)
	}
	if err := s.Shutdown(soon()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v, want DeadlineExceeded", err)
	}
}

// However often the connection breaks, wherever it is cut, what comes after it
// is right.
func TestCutAnywhere(t *testing.T) {
	m := boot(t)
	s := connect(t, m, alice)
	random := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	for range 12 {
		limit := random.IntN(len(content))
		n := 0
		cut := writerFunc(func(p []byte) (int, error) {
			if n += len(p); n > limit {
				m.hangUp()
			}
			return len(p), nil
		})
		var calls sync.WaitGroup
		calls.Go(func() {
			s.Exec(t.Context(), coppice.ExecSpec{Command: "cat"}, coppice.Stdio{Stdin: bytes.NewReader(content), Stdout: cut})
		})
		calls.Go(func() { s.Files("").Write(t.Context(), "file", 0o644, bytes.NewReader(content)) })
		calls.Wait()

		var out bytes.Buffer
		if _, err := s.Exec(t.Context(), coppice.ExecSpec{Command: "cat"}, coppice.Stdio{Stdin: bytes.NewReader(content[:limit]), Stdout: &out}); err != nil {
			t.Fatalf("after a cut: %v", err)
		}
		if !bytes.Equal(out.Bytes(), content[:limit]) {
			t.Fatalf("after a cut, %d bytes came back as %d others", limit, out.Len())
		}
	}
}

// Whatever a guest sends once it has taken up the connection, the host ends
// the call in its time and does not fall over.
func FuzzEnemy(f *testing.F) {
	f.Add([]byte{})
	f.Add(muxFrame(muxData, 0, 1, 100))
	f.Add(append(muxFrame(muxWindow, muxACK, 1, 0), muxFrame(muxData, 4, 1, 5)...))
	f.Add(append(append(muxFrame(muxWindow, muxACK, 1, 0), muxFrame(muxData, 0, 1, 18)...), "h\x00\x00\x00\x0d{\"Now\": 12345}"...))
	f.Fuzz(func(t *testing.T, says []byte) {
		dial := enemy(t, func(conn *wire.Conn) {
			conn.Read(make([]byte, 1))
			conn.Write(says)
		})
		conn, err := dial(t.Context())
		must(t, err)
		defer conn.Close()
		l, err := shakeHands(t.Context(), conn, 10*time.Second)
		must(t, err)
		defer l.close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := l.identify(ctx, slog.New(slog.DiscardHandler), alice); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the call hung: %v", err)
		}
	})
}
