package conformance

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

// dialPair connects to a listener in the guest, and returns both ends.
func (e *exam) dialPair(t *testing.T, l net.Listener) (dialled, accepted net.Conn) {
	t.Helper()
	dialled, err := e.Session.Dial(t.Context(), "", l.Addr().Network(), l.Addr().String())
	must(t, err)
	t.Cleanup(func() { dialled.Close() })
	accepted, err = l.Accept()
	must(t, err)
	t.Cleanup(func() { accepted.Close() })
	return dialled, accepted
}

func (e *exam) listen(t *testing.T, user, network, address string) net.Listener {
	t.Helper()
	l, err := e.Listen(t.Context(), user, network, address)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func testSockets(t *testing.T, e *exam) {
	for _, l := range []net.Listener{
		e.listen(t, "", "tcp", "127.0.0.1:0"),
		e.listen(t, e.User, "unix", path.Join(e.Home, "a.sock")),
	} {
		dialled, accepted := e.dialPair(t, l)
		other, otherAccepted := e.dialPair(t, l)

		// Nothing to read is no end, and costs nothing of what comes later.
		must(t, dialled.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		if _, err := dialled.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read past its deadline: %v, want ErrDeadlineExceeded", err)
		}
		must(t, dialled.SetReadDeadline(time.Time{}))

		content := bytes.Repeat([]byte("0123456789abcde\n"), 30_000) // more than any buffer on the way
		var both sync.WaitGroup
		for _, way := range [][2]net.Conn{{dialled, accepted}, {accepted, dialled}} {
			both.Go(func() {
				_, err := way[0].Write(content)
				if err == nil {
					err = way[0].(interface{ CloseWrite() error }).CloseWrite()
				}
				if err != nil {
					t.Errorf("%s: send: %v", l.Addr(), err)
				}
			})
			both.Go(func() {
				got, err := io.ReadAll(way[1])
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s: got %d of %d bytes, equal: %v, %v", l.Addr(), len(got), len(content), bytes.Equal(got, content), err)
				}
			})
		}
		both.Wait()

		must(t, other.Close())
		if n, err := otherAccepted.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: read %d bytes of a connection that the other end closed", l.Addr(), n)
		}
		must(t, l.Close())
		must(t, l.Close())
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: accept after Close: %v, want ErrClosed", l.Addr(), err)
		}
	}
}

func testSocketsMissing(t *testing.T, e *exam) {
	l := e.listen(t, "", "tcp", "127.0.0.1:0")
	if _, err := e.Listen(t.Context(), "", "tcp", l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listen where somebody listens: %v, want EADDRINUSE", err)
	}
	if _, err := e.Listen(t.Context(), e.User, "tcp", "127.0.0.1:80"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("listen on a port that is root's: %v, want ErrPermission", err)
	}
	gone := l.Addr().String()
	must(t, l.Close())
	awaitErr(t, syscall.ECONNREFUSED, func() error { return hangUpDial(e, t, "", "tcp", gone) })
	for _, test := range []struct {
		user, network, address string
		want                   error
	}{
		{"", "unix", path.Join(e.Home, "nothing.sock"), fs.ErrNotExist},
		{"nobody-knows-me", "tcp", "127.0.0.1:1", coppice.ErrNoUser},
		{"", "udp", "127.0.0.1:1", fs.ErrInvalid},
	} {
		if err := hangUpDial(e, t, test.user, test.network, test.address); !errors.Is(err, test.want) {
			t.Errorf("dial %+v: %v", test, err)
		}
	}
}

// hangUpDial dials and hangs up.
func hangUpDial(e *exam, t *testing.T, user, network, address string) error {
	conn, err := e.Session.Dial(t.Context(), user, network, address)
	if err == nil {
		conn.Close()
	}
	return err
}

// awaitErr waits until do fails with an error.
func awaitErr(t *testing.T, want error, do func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if err = do(); errors.Is(err, want) {
			return
		}
	}
	t.Errorf("got %v, want %v", err, want)
}

func testSocketsBreak(t *testing.T, e *exam) {
	l := e.listen(t, "", "tcp", "127.0.0.1:0")
	dialled, accepted := e.dialPair(t, l)
	e.hangUp()
	for _, conn := range []net.Conn{dialled, accepted} {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a connection outlived the stream it went over")
		}
	}
	if _, err := l.Accept(); err == nil {
		t.Error("a listener outlived the stream it was made by")
	}
	// The address is free again once the guest has noticed.
	awaitErr(t, nil, func() error {
		again, err := e.Listen(t.Context(), "", "tcp", l.Addr().String())
		if err == nil {
			again.Close()
		}
		return err
	})
}
