package mem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/coppice-vm/coppice"
)

// A tree is the files of a guest.
type tree struct {
	mu       sync.Mutex
	files    map[string]node // by absolute name
	watchers map[*watcher]bool
}

// A node is a file, or a directory if its mode says so.
type node struct {
	mode    fs.FileMode
	content []byte
}

// A watcher gets the events below a directory.
type watcher struct {
	dir    string
	events chan coppice.FileEvent
}

// newTree returns a tree with nothing but directories.
func newTree(dirs ...string) *tree {
	t := &tree{files: map[string]node{"/": {mode: fs.ModeDir | 0o755}}, watchers: map[*watcher]bool{}}
	for _, dir := range dirs {
		t.makeDirs(dir)
	}
	return t
}

// get returns a file or directory. The caller holds t.mu.
func (t *tree) get(name string) (node, error) {
	if n, ok := t.files[name]; ok {
		return n, nil
	}
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		if n, ok := t.files[dir]; ok && !n.mode.IsDir() {
			return node{}, fmt.Errorf("%s is no directory: %w", dir, fs.ErrInvalid)
		}
	}
	return node{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// makeDirs makes a directory with its parents. The caller holds t.mu.
func (t *tree) makeDirs(dir string) {
	if _, ok := t.files[dir]; !ok {
		t.makeDirs(path.Dir(dir))
		t.files[dir] = node{mode: fs.ModeDir | 0o755}
		t.tell("create", dir)
	}
}

// tell tells the watchers. The caller holds t.mu.
func (t *tree) tell(what, name string) {
	for w := range t.watchers {
		if below, ok := strings.CutPrefix(name, w.dir+"/"); ok {
			select {
			case w.events <- coppice.FileEvent{Type: what, Name: below}:
			default: // it is slow, and this only a test
			}
		}
	}
}

// put writes a file.
func (t *tree) put(name string, mode fs.FileMode, content []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	what := "rename" // as when a file takes the place of another
	old, err := t.get(name)
	switch {
	case err == nil && old.mode.IsDir():
		return fmt.Errorf("%s is a directory: %w", name, fs.ErrInvalid)
	case err == nil:
		mode = old.mode
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		what = "create"
		t.makeDirs(path.Dir(name))
	}
	t.files[name] = node{mode, content}
	t.tell(what, name)
	return nil
}

// list returns the entries of a directory.
func (t *tree) list(dir string) ([]coppice.DirEntry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.get(dir)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsDir() {
		return nil, fmt.Errorf("%s is no directory: %w", dir, fs.ErrInvalid)
	}
	var entries []coppice.DirEntry
	for name, n := range t.files {
		if name != "/" && path.Dir(name) == dir {
			entries = append(entries, coppice.DirEntry{Name: path.Base(name), Dir: n.mode.IsDir()})
		}
	}
	slices.SortFunc(entries, func(a, b coppice.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// guestFiles is a [coppice.GuestFiles].
type guestFiles struct {
	session *guestSession
	user    string
}

// at connects, and returns the absolute form of name.
func (f guestFiles) at(ctx context.Context, name string) (abs string, broken <-chan struct{}, err error) {
	dir, err := home(f.user)
	if err != nil {
		return "", nil, err
	}
	if path.IsAbs(name) {
		dir = "/"
	}
	broken, err = f.session.connected(ctx)
	return path.Join(dir, name), broken, err
}

// Open implements [coppice.GuestFiles].
func (f guestFiles) Open(ctx context.Context, name string) (coppice.GuestFile, error) {
	name, _, err := f.at(ctx, name)
	if err != nil {
		return coppice.GuestFile{}, err
	}
	disk := f.session.disk
	disk.mu.Lock()
	n, err := disk.get(name)
	disk.mu.Unlock()
	if err != nil {
		return coppice.GuestFile{}, err
	}
	if n.mode.IsDir() {
		entries, err := disk.list(name)
		return coppice.GuestFile{Dir: true, Mode: n.mode, Entries: entries}, err
	}
	return coppice.GuestFile{Mode: n.mode, Size: int64(len(n.content)), Content: io.NopCloser(bytes.NewReader(n.content))}, nil
}

// Write implements [coppice.GuestFiles].
func (f guestFiles) Write(ctx context.Context, name string, mode fs.FileMode, r io.Reader) error {
	name, _, err := f.at(ctx, name)
	if err != nil {
		return err
	}
	var content bytes.Buffer
	for err == nil {
		if _, err = io.CopyN(&content, r, 32<<10); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err != io.EOF {
		return err
	}
	return f.session.disk.put(name, mode.Perm(), content.Bytes())
}

// Watch implements [coppice.GuestFiles].
func (f guestFiles) Watch(ctx context.Context, dir string, event func(coppice.FileEvent)) error {
	dir, broken, err := f.at(ctx, dir)
	if err != nil {
		return err
	}
	disk := f.session.disk
	if _, err := disk.list(dir); err != nil {
		return err
	}
	w := &watcher{dir: dir, events: make(chan coppice.FileEvent, 1000)}
	disk.mu.Lock()
	disk.watchers[w] = true
	disk.mu.Unlock()
	defer func() {
		disk.mu.Lock()
		delete(disk.watchers, w)
		disk.mu.Unlock()
	}()
	for {
		select {
		case e := <-w.events:
			event(e)
		case <-broken:
			return errBroken
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
