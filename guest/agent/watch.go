package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// watchLimit is how many directories one watch covers at most.
const watchLimit = 4096

const watchMask = unix.IN_CREATE | unix.IN_MODIFY | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
	unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW | unix.IN_EXCL_UNLINK

// A watcher reports changes in a directory and those below it.
type watcher struct {
	user  user
	root  string
	queue *os.File
	dirs  map[int]string // watched, by the kernel's number, relative to root
}

// watch reports changes until the host gives up.
func (x *exchange) watch() error {
	u, err := x.agent.lookUp(x.File.User)
	if err != nil {
		return err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	w := &watcher{user: u, queue: os.NewFile(uintptr(fd), "inotify"), dirs: map[int]string{}}
	defer w.queue.Close()
	err = u.as(func() (err error) {
		if w.root, err = filepath.EvalSymlinks(u.abs(x.File.Name)); err != nil {
			return err
		}
		return w.add(".", nil)
	})
	if err != nil {
		return err
	}
	if err := x.answer(wire.Done{}); err != nil {
		return err
	}
	go func() {
		x.frames.Next(0) // returns when the host gives up, or is lost
		w.queue.Close()
	}()
	return w.run(func(e coppice.FileEvent) error {
		content, err := json.Marshal(e)
		if err != nil {
			return err
		}
		return wire.Write(x.stream, wire.Data, content)
	})
}

// add watches a directory and those below it. What is in them is reported to
// found, if that is set: it came before the watch did.
func (w *watcher) add(dir string, found func(name string)) error {
	if len(w.dirs) == watchLimit {
		return fmt.Errorf("more than %d directories: %w", watchLimit, fs.ErrInvalid)
	}
	path := filepath.Join(w.root, dir)
	id, err := unix.InotifyAddWatch(w.fd(), path, watchMask)
	if err != nil {
		return &fs.PathError{Op: "watch", Path: path, Err: err}
	}
	w.dirs[id] = dir
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := filepath.Join(dir, entry.Name())
		if found != nil {
			found(name)
		}
		if entry.IsDir() {
			if err := w.add(name, found); err != nil && !passedOver(err) {
				return err
			}
		}
	}
	return nil
}

// drop ends the watch of a directory that has moved, and of those below it. If
// it moved to where it is watched again, that comes next.
func (w *watcher) drop(dir string) error {
	for id, name := range w.dirs {
		if name != dir && !strings.HasPrefix(name, dir+"/") {
			continue
		}
		delete(w.dirs, id)
		if _, err := unix.InotifyRmWatch(w.fd(), uint32(id)); err != nil && err != unix.EINVAL {
			return err // EINVAL: it is gone altogether
		}
	}
	return nil
}

// passedOver reports whether an error only says that a directory is gone by
// now, or not for this user.
func passedOver(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR)
}

// run reports events until the queue is closed or ends.
func (w *watcher) run(report func(coppice.FileEvent) error) error {
	buf := make([]byte, 16<<10)
	for {
		n, err := w.queue.Read(buf)
		if err != nil {
			return err
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			id := int(int32(binary.NativeEndian.Uint32(rest)))
			mask := binary.NativeEndian.Uint32(rest[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
			name := string(bytes.TrimRight(rest[unix.SizeofInotifyEvent:end], "\x00"))
			rest = rest[end:]
			if err := w.event(id, mask, name, report); err != nil {
				return err
			}
		}
	}
}

func (w *watcher) event(id int, mask uint32, name string, report func(coppice.FileEvent) error) error {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		return errors.New("more changed than could be kept until the host had read it")
	}
	dir, known := w.dirs[id]
	switch {
	case !known: // any more
		return nil
	case mask&unix.IN_IGNORED != 0:
		delete(w.dirs, id)
		if dir == "." {
			return fmt.Errorf("%s is gone: %w", w.root, fs.ErrNotExist)
		}
		return nil
	case name == "": // the directory itself: its parent says so too
		return nil
	}
	name = filepath.Join(dir, name)
	what := "modify"
	switch {
	case mask&unix.IN_CREATE != 0:
		what = "create"
	case mask&unix.IN_DELETE != 0:
		what = "delete"
	case mask&(unix.IN_MOVED_FROM|unix.IN_MOVED_TO) != 0:
		what = "rename"
	}
	if err := report(coppice.FileEvent{Type: what, Name: name}); err != nil {
		return err
	}
	if mask&unix.IN_ISDIR == 0 {
		return nil
	}
	if mask&unix.IN_MOVED_FROM != 0 {
		return w.drop(name)
	}
	if mask&(unix.IN_CREATE|unix.IN_MOVED_TO) == 0 {
		return nil
	}
	var found []string
	err := w.user.as(func() error {
		return w.add(name, func(name string) { found = append(found, name) })
	})
	if err != nil && !passedOver(err) {
		return err
	}
	for _, name := range found {
		if err := report(coppice.FileEvent{Type: "create", Name: name}); err != nil {
			return err
		}
	}
	return nil
}

// fd returns the queue's descriptor, without making it block as Fd does.
func (w *watcher) fd() (fd int) {
	if conn, err := w.queue.SyscallConn(); err == nil {
		conn.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}
