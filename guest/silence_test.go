package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// alone reports whether a test has a process of its own, and otherwise runs it in one.
// yamux keeps timers for whoever comes next, who must not be in a bubble where the timer's
// last user was in none.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv("GUEST_TEST_ALONE") != "" {
		return true
	}
	test := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v="+strconv.FormatBool(testing.Verbose()))
	test.Env = append(os.Environ(), "GUEST_TEST_ALONE=1")
	out, err := test.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
	return false
}

// timeless runs a test in which waiting takes no time, and which is [alone].
func timeless(t *testing.T, test func(*testing.T)) {
	t.Helper()
	runtime.GC() // twice, and yamux has no timer of the bubble before
	runtime.GC()
	synctest.Test(t, test)
}

// directory begins a listing, file the content of a file.
func directory(c net.Conn) { wire.WriteJSON(c, wire.Head, wire.FileInfo{Mode: 1 << 31}) }
func file(c net.Conn)      { wire.WriteJSON(c, wire.Head, wire.FileInfo{Mode: 0o644}) }

// drips says something every so often, for as long.
func drips(kind wire.Kind, content string, every, during time.Duration) act {
	return func(c net.Conn) {
		for began := time.Now(); time.Since(began) < during && wire.Write(c, kind, []byte(content)) == nil; {
			time.Sleep(every)
		}
	}
}

// deaf is an act that does not even read.
func deaf(net.Conn) { time.Sleep(ages) }

// ages is longer than anybody waits for a guest that does nothing.
const ages = 1000 * time.Hour

// opens reads what has a name, to its end.
func opens(ctx context.Context, s coppice.Session) error {
	f, err := s.Files("").Open(ctx, "x")
	if err != nil || f.Dir {
		return err
	}
	defer f.Content.Close()
	_, err = io.Copy(io.Discard, f.Content)
	return err
}

// zeros are so many bytes.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(p []byte) (int, error) { return len(p), nil }

// A guest that answers the multiplexer and nothing else, or drips, costs whoever asks
// something of it no more than the time that is said of it.
func TestSilenceIsBounded(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, test := range []struct {
		name string
		does act
		ask  func(context.Context, coppice.Session) error
		most time.Duration
	}{
		{"open", listens, opens, answerDeadline},
		{"a directory that begins", then(directory, listens), opens, answerDeadline},
		{"a listing of nothing", then(directory, drips(wire.Data, "", 80*time.Second, ages)), opens, answerDeadline},
		{"a listing that drips", then(directory, drips(wire.Data, "fname\x00", time.Second, ages)), opens, listingDeadline},
		{"a file that begins", then(file, listens), opens, answerDeadline},
		{"a file of nothing", then(file, drips(wire.Data, "", 80*time.Second, ages)), opens, answerDeadline},
		{"a file that drips", then(file, drips(wire.Data, "x", 80*time.Second, ages)), opens, answerDeadline},
		{"write", deaf, func(ctx context.Context, s coppice.Session) error {
			return s.Files("").Write(ctx, "x", 0o644, zeros(1<<20))
		}, answerDeadline},
		{"write that is not answered", listens, func(ctx context.Context, s coppice.Session) error {
			return s.Files("").Write(ctx, "x", 0o644, zeros(1<<20))
		}, answerDeadline},
		{"watch", listens, func(ctx context.Context, s coppice.Session) error {
			return s.Files("").Watch(ctx, "x", nil)
		}, answerDeadline},
		{"a command that runs into its timeout", listens, func(ctx context.Context, s coppice.Session) error {
			status, err := s.Exec(ctx, coppice.ExecSpec{Command: "true", Timeout: time.Minute}, coppice.Stdio{})
			if status.TimedOut {
				return errOvertime
			}
			return err
		}, time.Minute + timeoutGrace + killDeadline},
		{"attach", listens, func(ctx context.Context, s coppice.Session) error {
			_, err := s.Terminals("").Attach(ctx, "x", window, nil)
			return err
		}, answerDeadline},
		{"terminals", listens, func(ctx context.Context, s coppice.Session) error {
			_, err := s.Terminals("").List(ctx)
			return err
		}, answerDeadline},
		{"close", listens, func(ctx context.Context, s coppice.Session) error {
			_, err := s.Terminals("").Close(ctx, "x")
			return err
		}, answerDeadline},
		{"dial", listens, func(ctx context.Context, s coppice.Session) error {
			_, err := s.Dial(ctx, "", "tcp", "localhost:80")
			return err
		}, answerDeadline},
		{"listen", listens, func(ctx context.Context, s coppice.Session) error {
			_, err := s.Listen(ctx, "", "tcp", "localhost:80")
			return err
		}, answerDeadline},
		{"shutdown", listens, func(ctx context.Context, s coppice.Session) error { return s.Shutdown(ctx) }, answerDeadline},
		{"clock", listens, func(ctx context.Context, s coppice.Session) error { return s.SetClock(ctx) }, identifyDeadline},
	} {
		t.Run(test.name, func(t *testing.T) {
			timeless(t, func(t *testing.T) {
				s := meets(t, test.does)
				ctx, cancel := context.WithTimeout(t.Context(), ages/2)
				defer cancel()
				began := time.Now()
				err := test.ask(ctx, s)
				took := time.Since(began)
				if err == nil || ctx.Err() != nil || took > test.most {
					t.Errorf("told after %v, not %v: %v", took, test.most, err)
				}
			})
		})
	}
}

// So it is with a request that is larger than what a stream holds, which nobody reads.
func TestUnreadRequestIsBounded(t *testing.T) {
	if !alone(t) {
		return
	}
	timeless(t, func(t *testing.T) {
		s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), enemy(t, func(conn *wire.Conn) {
			mux, err := wire.Server(conn)
			for streams := 1; err == nil; streams++ {
				var stream net.Conn
				if stream, err = mux.AcceptStream(); err == nil && streams == 1 {
					frames := wire.NewReader(stream)
					frames.Answer(new(wire.Request))
					takeIdentity(frames, stream)
				}
			}
		}), alice)
		must(t, err)
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), ages)
		defer cancel()
		began := time.Now()
		_, err = s.Exec(ctx, coppice.ExecSpec{Command: "true", Env: []string{"LARGE=" + strings.Repeat("x", 400<<10)}}, coppice.Stdio{})
		if took := time.Since(began); !errors.Is(err, coppice.ErrGuestGone) || took > answerDeadline {
			t.Errorf("told after %v: %v", took, err)
		}
	})
}

// A guest that has gone quiet on a connection is noticed, whatever is waited for.
func TestQuietIsNoticed(t *testing.T) {
	if !alone(t) {
		return
	}
	timeless(t, func(t *testing.T) {
		there := liar(t, func(_ wire.Request, c net.Conn) { listens(c) })
		var quiet atomic.Bool
		s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), func(ctx context.Context) (net.Conn, error) {
			conn, err := there(ctx)
			return quietConn{conn, &quiet}, err
		}, alice)
		must(t, err)
		defer s.Close()
		quiet.Store(true)
		began := time.Now()
		_, err = s.Exec(t.Context(), coppice.ExecSpec{Command: "make world"}, coppice.Stdio{})
		if took := time.Since(began); !errors.Is(err, coppice.ErrGuestGone) || took > 50*time.Second {
			t.Errorf("told after %v: %v", took, err)
		}
	})
}

// A quietConn takes what is written and passes none of it on, once it is quiet.
type quietConn struct {
	net.Conn
	quiet *atomic.Bool
}

func (c quietConn) Write(p []byte) (int, error) {
	if c.quiet.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// meets opens a session with a guest that takes its identity, and then does that.
func meets(t *testing.T, does act) coppice.Session {
	s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), liar(t, func(_ wire.Request, c net.Conn) { does(c) }), alice)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// What takes its time and goes on is waited for, however long that is.
func TestSlownessIsNotSilence(t *testing.T) {
	if !alone(t) {
		return
	}
	name := "f" + strings.Repeat("x", 254) + "\x00"
	for _, test := range []struct {
		name string
		does act
		ask  func(context.Context, coppice.Session) error
	}{
		{"a large listing", then(directory, drips(wire.Data, strings.Repeat(name, 100), 500*time.Millisecond, 4*time.Minute), sends(wire.End, "")), opens},
		{"a huge file", then(file, drips(wire.Data, strings.Repeat("x", wire.MaxData), 80*time.Second, 48*time.Hour), sends(wire.End, "")), opens},
		{"a file written slowly", func(c net.Conn) {
			for content := wire.NewReader(c); ; time.Sleep(10 * time.Second) {
				if frame, err := content.Next(wire.MaxFrame); err != nil || frame.Kind == wire.End {
					break
				}
			}
			wire.WriteJSON(c, wire.Head, wire.Done{})
		}, func(ctx context.Context, s coppice.Session) error {
			return s.Files("").Write(ctx, "x", 0o644, zeros(20<<20))
		}},
		{"a file read by who takes his time", then(file, drips(wire.Data, "x", 80*time.Second, 100*time.Second), sends(wire.End, "")),
			func(ctx context.Context, s coppice.Session) error {
				f, err := s.Files("").Open(ctx, "x")
				if err != nil {
					return err
				}
				defer f.Content.Close()
				for {
					time.Sleep(time.Hour)
					if _, err := f.Content.Read(make([]byte, 1)); err != nil {
						return eof(err)
					}
				}
			}},
		{"a command", then(drips(wire.Data, "", 48*time.Hour, time.Hour), says(wire.Exited{})), func(ctx context.Context, s coppice.Session) error {
			_, err := s.Exec(ctx, coppice.ExecSpec{Command: "make world"}, coppice.Stdio{Stdin: zeros(1 << 20)})
			return err
		}},
		{"a command whose output is read by who takes his time", then(sends(wire.Data, "x"), sends(wire.Data, "y"), says(wire.Exited{})), func(ctx context.Context, s coppice.Session) error {
			_, err := s.Exec(ctx, coppice.ExecSpec{Command: "cat"}, coppice.Stdio{Stdout: writerFunc(func(p []byte) (int, error) {
				time.Sleep(time.Hour)
				return len(p), nil
			})})
			return err
		}},
		{"a terminal", then(honest, drips(wire.Data, "x", 48*time.Hour, time.Hour), says(wire.Ended{})), func(ctx context.Context, s coppice.Session) error {
			terminal, err := s.Terminals("").Attach(ctx, "x", window, nil)
			if err != nil {
				return err
			}
			defer terminal.Close()
			_, err = io.Copy(io.Discard, terminal)
			return err
		}},
		{"a connection", then(says(wire.Done{}), drips(wire.Data, "x", 48*time.Hour, time.Hour), sends(wire.End, "")), func(ctx context.Context, s coppice.Session) error {
			conn, err := s.Dial(ctx, "", "tcp", "localhost:80")
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = io.Copy(io.Discard, conn)
			return err
		}},
		{"a watch", then(says(wire.Done{}), drips(wire.Data, `{"type":"create","name":"x"}`, 48*time.Hour, time.Hour), sends(wire.Fail, `{"Message":"over"}`)),
			func(ctx context.Context, s coppice.Session) error {
				err := s.Files("").Watch(ctx, "x", func(coppice.FileEvent) {})
				if errors.As(err, new(*wire.Error)) {
					return nil
				}
				return err
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			timeless(t, func(t *testing.T) {
				began := time.Now()
				if err := test.ask(t.Context(), meets(t, test.does)); err != nil {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
			})
		})
	}
}

// eof is nil for the end of a file.
func eof(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// However many wait for an agent that has gone, each is told as if it were alone.
func TestManyWaitForOneThatIsGone(t *testing.T) {
	if !alone(t) {
		return
	}
	timeless(t, func(t *testing.T) {
		gone := false
		there := liar(t, func(_ wire.Request, c net.Conn) { wire.WriteJSON(c, wire.Head, wire.Done{}) })
		s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), func(ctx context.Context) (net.Conn, error) {
			if gone {
				return nil, fmt.Errorf("nobody is there")
			}
			return there(ctx)
		}, alice)
		must(t, err)
		defer s.Close()
		gone = true
		s.(*session).link.close()
		began := time.Now()
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if err := s.Shutdown(t.Context()); !errors.Is(err, coppice.ErrGuestGone) || time.Since(began) > reconnectDeadline {
					t.Errorf("told after %v: %v", time.Since(began), err)
				}
			})
		}
		all.Wait()
	})
}
