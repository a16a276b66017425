package guest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

func put(t *testing.T, files coppice.GuestFiles, name, content string) {
	t.Helper()
	must(t, files.Write(t.Context(), name, 0o644, strings.NewReader(content)))
}

// home returns the name of a file in alice's home.
func (m *machine) home(name string) string { return filepath.Join(m.root, "home/alice", name) }

// owned checks who a file belongs to and what may be done with it.
func owned(t *testing.T, name string, uid, gid uint32, mode fs.FileMode) {
	t.Helper()
	info, err := os.Stat(name)
	must(t, err)
	stat := info.Sys().(*syscall.Stat_t)
	if stat.Uid != uid || stat.Gid != gid || info.Mode() != mode {
		t.Errorf("%s belongs to %d:%d with mode %v, want %d:%d and %v", name, stat.Uid, stat.Gid, info.Mode(), uid, gid, mode)
	}
}

func TestFilesAsUser(t *testing.T) {
	m := boot(t)
	files := connect(t, m, alice).Files("alice")
	secret := filepath.Join(m.private(t), "secret")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	readOnly := m.home("read-only")
	must(t, os.WriteFile(readOnly, []byte("root's"), 0o644))

	_, err := files.Open(t.Context(), secret)
	for what, err := range map[string]error{
		"read what others may not":                 err,
		"write where others may not":               files.Write(t.Context(), filepath.Join(m.root, "etc/new"), 0o644, strings.NewReader("x")),
		"replace another's file in one's own home": files.Write(t.Context(), readOnly, 0o644, strings.NewReader("x")),
		"watch what others may not see":            files.Watch(t.Context(), m.private(t), nil),
	} {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v, want ErrPermission", what, err)
		}
	}
	put(t, files, "new/dir/file", "alice's")
	owned(t, m.home("new/dir/file"), 4242, 4243, 0o644)
	owned(t, m.home("new"), 4242, 4243, fs.ModeDir|0o755)

	// By a group that is not the first one.
	shared := filepath.Join(m.root, "shared")
	must(t, os.Mkdir(shared, 0o700))
	must(t, os.Chmod(shared, 0o770))
	must(t, os.Chown(shared, 0, 4244))
	put(t, files, shared+"/file", "x")
	owned(t, shared+"/file", 4242, 4243, 0o644)

	// A file that others may write to stays the others'.
	theirs := shared + "/theirs"
	must(t, os.WriteFile(theirs, []byte("old"), 0o600))
	must(t, os.Chown(theirs, 0, 4244))
	must(t, os.Chmod(theirs, 0o660|fs.ModeSetgid))
	put(t, files, theirs, "alice was here")
	owned(t, theirs, 0, 4244, 0o660)
}

func TestFilesOfRoot(t *testing.T) {
	m := boot(t)
	files := connect(t, m, alice).Files("")
	program := m.home("program")
	must(t, os.WriteFile(program, []byte("old"), 0o600))
	must(t, os.Chown(program, 4242, 4243))
	must(t, os.Chmod(program, 0o755|fs.ModeSetuid))
	put(t, files, program, "new")
	owned(t, program, 4242, 4243, 0o755|fs.ModeSetuid)

	// Links are followed, dangling ones too.
	for name, target := range map[string]string{"link": "program", "far": "link", "dangling": "made", "absolute": m.home("made2")} {
		must(t, os.Symlink(target, m.home(name)))
	}
	must(t, os.Symlink("loop", m.home("loop")))
	for _, name := range []string{"link", "far", "dangling", "absolute"} {
		put(t, files, m.home(name), "by "+name)
		if info, err := os.Lstat(m.home(name)); err != nil || info.Mode().Type() != fs.ModeSymlink {
			t.Errorf("%s is no link any more: %v", name, err)
		}
		if got := m.file("home/alice/" + name); got != "by "+name {
			t.Errorf("%s leads to %q", name, got)
		}
	}
	owned(t, program, 4242, 4243, 0o755|fs.ModeSetuid)
	if err := files.Write(t.Context(), m.home("loop"), 0o644, strings.NewReader("x")); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("write to a link to itself: %v, want ErrInvalid", err)
	}
	if left, _ := filepath.Glob(m.home(".coppice-*")); left != nil {
		t.Errorf("there are leftovers: %v", left)
	}
}

// Files that are no files are left alone, and not waited for.
func TestSpecialFiles(t *testing.T) {
	m := boot(t)
	files := connect(t, m, alice).Files("")
	fifo := filepath.Join(m.root, "fifo")
	mkfifo(t, fifo)
	socket := filepath.Join(m.root, "socket")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: socket}))
	for _, name := range []string{fifo, "/dev/zero", socket} {
		if _, err := files.Open(t.Context(), name); err == nil {
			t.Errorf("%s was opened", name)
		}
		if err := files.Write(t.Context(), name, 0o644, strings.NewReader("x")); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("write to %s: %v, want ErrInvalid", name, err)
		}
	}
	// The size of a file need not be known.
	f, err := files.Open(t.Context(), "/proc/self/status")
	must(t, err)
	defer f.Content.Close()
	if content, err := io.ReadAll(f.Content); err != nil || !strings.HasPrefix(string(content), "Name:") {
		t.Errorf("a file of the kernel reads as %q, %v", content, err)
	}
}

// A write that is refused is over when that is known, and leaves nothing.
func TestWriteRefusedEarly(t *testing.T) {
	m := boot(t)
	s := connect(t, m, alice)
	err := s.Files("alice").Write(t.Context(), filepath.Join(m.root, "etc/new"), 0o644, zeroes{})
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("an endless write that is refused: %v, want ErrPermission", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err = s.Files("").Write(ctx, m.home("half"), 0o644, readerFunc(func(p []byte) (int, error) {
		if n++; n == 100 {
			cancel()
		}
		return len(p), nil
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a write that is cancelled: %v", err)
	}
	// A directory listed by another call says when the guest has cleaned up.
	for {
		dir, err := s.Files("").Open(t.Context(), m.home(""))
		must(t, err)
		if len(dir.Entries) == 1 {
			break // .bashrc
		}
	}
}

func TestLargeFiles(t *testing.T) {
	m := boot(t)
	files := connect(t, m, alice).Files("")
	const size = 64 << 20
	must(t, os.WriteFile(m.home("large"), nil, 0o644))
	must(t, os.Truncate(m.home("large"), size))
	f, err := files.Open(t.Context(), m.home("large"))
	must(t, err)
	defer f.Content.Close()
	if n, err := io.Copy(io.Discard, f.Content); err != nil || n != size || f.Size != size {
		t.Errorf("read %d of %d bytes, %v", n, f.Size, err)
	}
	must(t, files.Write(t.Context(), m.home("copy"), 0o644, io.LimitReader(zeroes{}, size)))
	if info, err := os.Stat(m.home("copy")); err != nil || info.Size() != size {
		t.Errorf("wrote %d of %d bytes, %v", info.Size(), size, err)
	}
}

func TestWatchTellsWhatHappened(t *testing.T) {
	m := boot(t)
	files := connect(t, m, alice).Files("")
	must(t, os.MkdirAll(m.home("w/sub"), 0o755))
	put(t, files, m.home("w/sub/file"), "x")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan coppice.FileEvent, 1000)
	done := make(chan error, 1)
	go func() { done <- files.Watch(ctx, m.home("w"), func(e coppice.FileEvent) { events <- e }) }()
	for ready := false; !ready; { // until it watches
		put(t, files, m.home("w/ready"), "x")
		select {
		case <-events:
			ready = true
		default:
		}
	}
	// What each step must lead to; more may come in between.
	for _, step := range []struct {
		do   func() error
		want []coppice.FileEvent
	}{
		{func() error { return os.WriteFile(m.home("w/a"), []byte("x"), 0o644) }, []coppice.FileEvent{{Type: "create", Name: "a"}, {Type: "modify", Name: "a"}}},
		{func() error { return os.Rename(m.home("w/a"), m.home("w/sub/b")) }, []coppice.FileEvent{{Type: "rename", Name: "a"}, {Type: "rename", Name: "sub/b"}}},
		{func() error { return os.Remove(m.home("w/sub/b")) }, []coppice.FileEvent{{Type: "delete", Name: "sub/b"}}},
		{func() error { return os.MkdirAll(m.home("w/new/deep"), 0o755) }, []coppice.FileEvent{{Type: "create", Name: "new"}, {Type: "create", Name: "new/deep"}}},
		{func() error { return os.WriteFile(m.home("w/new/deep/c"), nil, 0o644) }, []coppice.FileEvent{{Type: "create", Name: "new/deep/c"}}},
		{func() error { return os.Rename(m.home("w/new"), m.home("w/sub/moved")) }, []coppice.FileEvent{{Type: "rename", Name: "new"}, {Type: "rename", Name: "sub/moved"}}},
		{func() error { return os.WriteFile(m.home("w/sub/moved/deep/d"), nil, 0o644) }, []coppice.FileEvent{{Type: "create", Name: "sub/moved/deep/d"}}},
		{func() error { return os.Rename(m.home("w/sub"), m.home("away")) }, []coppice.FileEvent{{Type: "rename", Name: "sub"}}},
		{func() error {
			return errors.Join(os.WriteFile(m.home("away/file"), nil, 0o644), os.WriteFile(m.home("w/last"), nil, 0o644))
		}, []coppice.FileEvent{{Type: "create", Name: "last"}}},
	} {
		must(t, step.do())
		for len(step.want) > 0 {
			select {
			case e := <-events:
				if e == step.want[0] {
					step.want = step.want[1:]
				}
				if strings.HasPrefix(e.Name, "sub/file") {
					t.Errorf("%+v happened elsewhere", e)
				}
			case err := <-done:
				t.Fatalf("the watch ended: %v", err)
			}
		}
	}
	must(t, os.RemoveAll(m.home("w")))
	if err := <-done; !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the watch of a directory that is gone ended with %v, want ErrNotExist", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
