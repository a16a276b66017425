package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ports returns the two ends of a port. Their buffers hold what a test leaves in them.
func ports(t testing.TB) (host, guest net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	var conns [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "port")
		conns[i], err = net.FileConn(f)
		f.Close()
		must(t, err)
		t.Cleanup(func() { conns[i].Close() })
	}
	return conns[0], conns[1]
}

// accepted is what one Accept returned.
type accepted struct {
	conn *Conn
	err  error
}

func accept(l *Listener) <-chan accepted {
	done := make(chan accepted, 1)
	go func() {
		conn, err := l.Accept()
		done <- accepted{conn, err}
	}()
	return done
}

func meet(t testing.TB, host Port, l *Listener) (h, g *Conn) {
	t.Helper()
	done := accept(l)
	must(t, host.SetDeadline(time.Now().Add(10*time.Second)))
	h, err := Connect(host)
	must(t, err)
	a := <-done
	must(t, a.err)
	return h, a.conn
}

func send(t testing.TB, from, to *Conn, data []byte) {
	t.Helper()
	failed := make(chan error, 1)
	go func() {
		_, err := from.Write(data)
		failed <- err
	}()
	got := make([]byte, len(data))
	_, err := io.ReadFull(to, got)
	must(t, err)
	must(t, <-failed)
	if !bytes.Equal(got, data) {
		t.Fatalf("sent %q, arrived %q", data, got)
	}
}

// greeting is how a connection begins.
func greetingOf(from byte, e epoch) []byte {
	var buf bytes.Buffer
	greet(&fakePort{Writer: &buf}, from, e)
	return buf.Bytes()
}

type fakePort struct {
	io.Reader
	io.Writer
}

func (fakePort) Close() error                { return nil }
func (fakePort) SetDeadline(time.Time) error { return nil }

// Whatever is left in a port, in either direction and cut anywhere, a new
// connection comes about and carries its own data and nothing else.
func FuzzConnectAfterAnything(f *testing.F) {
	old := greetingOf(fromHost, epoch{1, 2, 3})
	answer := greetingOf(fromGuest, epoch{1, 2, 3})
	f.Add([]byte{}, []byte{}, []byte("data"))
	f.Add(old, answer, []byte{esc, escBegin})
	f.Add(old[:7], append(answer, answer[:3]...), []byte{esc})
	f.Add([]byte{esc}, []byte{esc, escBegin, esc}, []byte{0})
	f.Add(append(slices.Clone(old), "cut in a frame\xF5"...), []byte("\xF5\x01G\x01"), bytes.Repeat([]byte{esc}, 100))
	f.Fuzz(func(t *testing.T, toGuest, toHost, data []byte) {
		if len(toGuest)+len(toHost)+len(data) > 64<<10 {
			t.Skip("more than the socket holds")
		}
		host, guest := ports(t)
		must(t, guest.SetDeadline(time.Now().Add(10*time.Second)))
		_, err := host.Write(toGuest)
		must(t, err)
		_, err = guest.Write(toHost)
		must(t, err)
		l := NewListener(guest)
		// What is left may contain whole greetings: each is answered, and its
		// connection is over when the next greeting comes.
		guestEnd := make(chan *Conn, 1)
		go func() {
			defer close(guestEnd)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				first := make([]byte, 1)
				if n, _ := c.Read(first); n == 1 && first[0] == '!' && fresh(c) {
					guestEnd <- c
					return
				}
				for err == nil {
					_, err = c.Read(make([]byte, 100))
				}
			}
		}()
		must(t, host.SetDeadline(time.Now().Add(10*time.Second)))
		h, err := Connect(host)
		must(t, err)
		_, err = h.Write([]byte("!fresh"))
		must(t, err)
		g := <-guestEnd
		if g == nil {
			t.Fatal("the guest did not take up the new connection")
		}
		send(t, h, g, data)
		send(t, g, h, data)
	})
}

// fresh reads the rest of the word that the new connection begins with.
func fresh(c *Conn) bool {
	word := make([]byte, len("fresh"))
	_, err := io.ReadFull(c, word)
	return err == nil && string(word) == "fresh"
}

func TestConnectInTheMiddle(t *testing.T) {
	host, guest := ports(t)
	l := NewListener(guest)
	h, g := meet(t, host, l)
	send(t, h, g, []byte("one"))

	// The host is cut in the middle of an escape, and the guest has not read
	// all of it when the next host begins.
	_, err := host.Write([]byte{'t', 'w', 'o', esc})
	must(t, err)
	done := accept2(l, g)
	second, err := Connect(host)
	must(t, err)
	a := <-done
	must(t, a.err)
	send(t, second, a.conn, []byte("three"))
	send(t, a.conn, second, []byte{esc, escBegin, esc})
}

// accept2 reads c until it is superseded, as a session would, and accepts.
func accept2(l *Listener, c *Conn) <-chan accepted {
	done := make(chan accepted, 1)
	go func() {
		rest, err := io.ReadAll(c)
		if string(rest) != "two" || !errors.Is(err, ErrSuperseded) {
			done <- accepted{err: errors.Join(errors.New("not superseded after two: "+string(rest)), err)}
			return
		}
		done <- <-accept(l)
	}()
	return done
}

func TestConnectDropsAnswersToOthers(t *testing.T) {
	host, guest := ports(t)
	_, err := guest.Write(greetingOf(fromGuest, epoch{9}))
	must(t, err)
	_, err = guest.Write([]byte("for the host before"))
	must(t, err)
	h, g := meet(t, host, NewListener(guest))
	send(t, g, h, []byte("for us"))
}

func TestConnectWaitsNoLongerThanItsDeadline(t *testing.T) {
	host, guest := ports(t)
	stop := make(chan struct{})
	flooded := make(chan struct{})
	go func() { // a guest that never says the word
		defer close(flooded)
		for {
			select {
			case <-stop:
				return
			default:
				guest.SetWriteDeadline(time.Now().Add(time.Millisecond))
				guest.Write(bytes.Repeat([]byte{esc, escBegin, fromGuest, Version}, 1000))
			}
		}
	}()
	must(t, host.SetDeadline(time.Now().Add(50*time.Millisecond)))
	if _, err := Connect(host); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Connect: %v, want the deadline's error", err)
	}
	close(stop)
	<-flooded
}

func TestConnectTellsAnotherVersion(t *testing.T) {
	host, guest := ports(t)
	go func() {
		in := &input{port: guest}
		_, e, _ := in.greeting(fromHost)
		guest.Write(appendEscaped([]byte{esc, escBegin, fromGuest, Version + 1}, e[:]))
	}()
	must(t, host.SetDeadline(time.Now().Add(10*time.Second)))
	if _, err := Connect(host); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Connect to an agent of another version: %v, want to be told so", err)
	}
}

func TestConnEndsAtGarbage(t *testing.T) {
	host, guest := ports(t)
	h, _ := meet(t, host, NewListener(guest))
	_, err := guest.Write([]byte{'x', esc, 'y'})
	must(t, err)
	if rest, err := io.ReadAll(h); string(rest) != "x" || !errors.Is(err, errEscape) {
		t.Errorf("read %q and %v, want what came before the garbage, then an error", rest, err)
	}
}

func TestConnCloseInterrupts(t *testing.T) {
	host, guest := ports(t)
	h, g := meet(t, host, NewListener(guest))
	done := make(chan error, 1)
	go func() {
		_, err := g.Read(make([]byte, 1))
		done <- err
	}()
	must(t, g.Close())
	must(t, g.Close())
	if err := <-done; err == nil {
		t.Error("a read went on after Close")
	}
	if _, err := g.Write([]byte("x")); err == nil {
		t.Error("a write went through after Close")
	}
	if _, err := h.Write([]byte("x")); err != nil {
		t.Errorf("the port was closed along: %v", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
