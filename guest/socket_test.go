package guest

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it is not so that %s", what)
		}
	}
}

// The path of a unix socket goes with its listener, and nothing that its user
// could not remove goes in its place.
func TestListenerRemovesItsPath(t *testing.T) {
	m := boot(t)
	s := connect(t, m, alice)
	home := filepath.Join(m.root, "home/alice")

	l, err := s.Listen(t.Context(), "alice", "unix", filepath.Join(home, "a.sock"))
	must(t, err)
	must(t, l.Close())
	eventually(t, "the path is gone", func() bool {
		_, err := os.Lstat(filepath.Join(home, "a.sock"))
		return errors.Is(err, fs.ErrNotExist)
	})

	roots := filepath.Join(m.root, "roots")
	must(t, os.Mkdir(roots, 0o755))
	must(t, os.WriteFile(filepath.Join(roots, "a.sock"), []byte("kept"), 0o644))
	dir, moved := filepath.Join(home, "dir"), filepath.Join(home, "moved")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.Chown(dir, 4242, 4243))
	l, err = s.Listen(t.Context(), "alice", "unix", filepath.Join(dir, "a.sock"))
	must(t, err)
	must(t, os.Rename(dir, moved))
	must(t, os.Symlink(roots, dir))
	must(t, l.Close())
	eventually(t, "nobody listens", func() bool { // which comes after the path is removed
		conn, err := s.Dial(t.Context(), "alice", "unix", filepath.Join(moved, "a.sock"))
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	if got, err := os.ReadFile(filepath.Join(roots, "a.sock")); string(got) != "kept" {
		t.Errorf("what was root's is %q, %v", got, err)
	}
}

// What has arrived at a listener whose connection broke is not looked for at
// the listener that has its number on the next one.
func TestAcceptAfterABreak(t *testing.T) {
	arrived := make(chan struct{})
	s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), liar(t, func(req wire.Request, c net.Conn) {
		switch req.Op {
		case wire.OpListen:
			wire.WriteJSON(c, wire.Head, wire.Listening{Address: "localhost:80"})
			wire.Write(c, wire.Data, []byte(`{"Number":1}`))
			close(arrived)
			io.Copy(io.Discard, c)
		case wire.OpAccept:
			t.Error("a connection was asked for that nobody has spoken of")
			wire.WriteJSON(c, wire.Head, wire.Done{})
		default:
			<-arrived
			wire.WriteJSON(c, wire.Head, wire.Done{})
		}
	}), alice)
	must(t, err)
	defer s.Close()
	l, err := s.Listen(t.Context(), "", "tcp", "localhost:80")
	must(t, err)
	defer l.Close()
	must(t, s.Shutdown(t.Context())) // once this is answered, the arrival is here
	s.(*session).link.close()
	must(t, s.Shutdown(t.Context())) // on another link
	if conn, err := l.Accept(); !errors.Is(err, coppice.ErrGuestGone) {
		t.Errorf("accept on a connection that broke: %v, %v, want ErrGuestGone", conn, err)
	}
}
