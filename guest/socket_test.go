package guest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
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
