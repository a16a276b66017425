package conformance

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

func write(t *testing.T, files coppice.GuestFiles, name, content string) {
	t.Helper()
	must(t, files.Write(t.Context(), name, 0o644, strings.NewReader(content)))
}

// read returns a file with its content.
func read(t *testing.T, files coppice.GuestFiles, name string) (coppice.GuestFile, string) {
	t.Helper()
	f, err := files.Open(t.Context(), name)
	must(t, err)
	if f.Content == nil {
		t.Fatalf("%s has no content", name)
	}
	defer f.Content.Close()
	content, err := io.ReadAll(f.Content)
	must(t, err)
	return f, string(content)
}

func testFiles(t *testing.T, e *exam) {
	root, user := e.Files(""), e.Files(e.User)
	big := strings.Repeat("0123456789abcde\n", 1<<16) // more than any buffer on the way
	for _, test := range []struct {
		files         coppice.GuestFiles
		name, content string
		same          string // another name of it
	}{
		{root, "empty", "", e.RootHome + "/empty"},
		{root, "big", big, e.RootHome + "/./big"},
		{root, e.RootHome + "/absolute", "a", "absolute"},
		{root, "made/on/the/way", "b", e.RootHome + "/made/on/the/way"},
		{user, "mine", "c", e.Home + "/mine"},
		{user, "a name\nwith \xF5 all sorts", "d", e.Home + "/a name\nwith \xF5 all sorts"},
	} {
		must(t, test.files.Write(t.Context(), test.name, 0o640, strings.NewReader(test.content)))
		for _, name := range []string{test.name, test.same} {
			f, content := read(t, test.files, name)
			if f.Dir || f.Size != int64(len(test.content)) || f.Mode != 0o640 {
				t.Errorf("%q: %+v, want a file of %d bytes with mode 0640", name, f, len(test.content))
			}
			if content != test.content {
				t.Errorf("%q reads as %d bytes, not the %d written", name, len(content), len(test.content))
			}
		}
	}
	// A file that is replaced keeps its mode.
	must(t, root.Write(t.Context(), "big", 0o600, strings.NewReader("small")))
	if f, content := read(t, root, "big"); content != "small" || f.Mode != 0o640 {
		t.Errorf("after it was replaced the file has mode %v and %q", f.Mode, content)
	}
	// One that is not read to its end can be closed.
	write(t, root, "big", big)
	f, err := root.Open(t.Context(), "big")
	must(t, err)
	must(t, f.Content.Close())
	must(t, f.Content.Close())
}

func testFilesAtomic(t *testing.T, e *exam) {
	files := e.Files("")
	write(t, files, "file", "old")
	broken := errors.New("broken")
	err := files.Write(t.Context(), "file", 0o644, io.MultiReader(strings.NewReader("new"), failingReader{broken}))
	if !errors.Is(err, broken) {
		t.Errorf("write what cannot be read: %v, want the reader's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = files.Write(ctx, "file", 0o644, io.MultiReader(strings.NewReader("new"), readerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	})))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a write that is cancelled: %v, want Canceled", err)
	}
	if _, content := read(t, files, "file"); content != "old" {
		t.Errorf("after writes that failed the file has %q", content)
	}
	// Whoever reads it while it is written sees all of one content.
	f, err := files.Open(t.Context(), "file")
	must(t, err)
	defer f.Content.Close()
	write(t, files, "file", "new")
	if content, err := io.ReadAll(f.Content); err != nil || string(content) != "old" {
		t.Errorf("who had it open reads %q, %v", content, err)
	}
	if _, content := read(t, files, "file"); content != "new" {
		t.Errorf("who opens it then reads %q", content)
	}
}

func testFilesMissing(t *testing.T, e *exam) {
	files := e.Files("")
	write(t, files, "dir/file", "content")
	for _, test := range []struct {
		what string
		err  error
		want error
	}{
		{"open what is not there", second(files.Open(t.Context(), "nothing")), fs.ErrNotExist},
		{"open below what is not there", second(files.Open(t.Context(), "no/thing")), fs.ErrNotExist},
		{"open below a file", second(files.Open(t.Context(), "dir/file/below")), fs.ErrInvalid},
		{"write to a directory", files.Write(t.Context(), "dir", 0o644, strings.NewReader("x")), fs.ErrInvalid},
		{"write below a file", files.Write(t.Context(), "dir/file/below", 0o644, strings.NewReader("x")), fs.ErrInvalid},
		{"watch what is not there", files.Watch(t.Context(), "nothing", nil), fs.ErrNotExist},
		{"watch a file", files.Watch(t.Context(), "dir/file", nil), fs.ErrInvalid},
		{"open as an unknown user", second(e.Files("nobody-knows-me").Open(t.Context(), "/")), coppice.ErrNoUser},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%s: %v, want %v", test.what, test.err, test.want)
		}
	}
}

func testDirectories(t *testing.T, e *exam) {
	files := e.Files("")
	for _, name := range []string{"d/b", "d/c/inner", "d/a", "d/.hidden"} {
		write(t, files, name, "content")
	}
	f, err := files.Open(t.Context(), "d")
	must(t, err)
	if !f.Dir || !f.Mode.IsDir() || f.Content != nil {
		t.Errorf("a directory is %+v", f)
	}
	want := []coppice.DirEntry{{Name: ".hidden"}, {Name: "a"}, {Name: "b"}, {Name: "c", Dir: true}}
	if diff := cmp.Diff(want, f.Entries); diff != "" {
		t.Errorf("entries as made (-) and as listed (+):\n%s", diff)
	}
	// The empty name is the home.
	home, err := files.Open(t.Context(), "")
	must(t, err)
	if !slices.Contains(home.Entries, coppice.DirEntry{Name: "d", Dir: true}) {
		t.Errorf("the home has %v, and not d", home.Entries)
	}
}

func testWatch(t *testing.T, e *exam) {
	files := e.Files("")
	write(t, files, "w/sub/old", "content")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan coppice.FileEvent, 1000)
	done := make(chan error, 1)
	go func() { done <- files.Watch(ctx, "w", func(e coppice.FileEvent) { events <- e }) }()

	// await writes name again and again until the watch, which begins some time, reports it.
	await := func(name string) {
		for seen := false; !seen; {
			write(t, files, "w/"+name, "content")
			for draining := true; draining; {
				select {
				case event := <-events:
					seen = seen || event.Name == name && event.Type != "delete"
				case err := <-done:
					t.Fatalf("the watch ended: %v", err)
				default:
					draining = false
				}
			}
		}
	}
	await("new")
	await("sub/old")
	await("made/later/deep")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v, want Canceled", err)
	}
}

func second(_ coppice.GuestFile, err error) error { return err }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
