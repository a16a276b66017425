package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/guest/wire"
	"github.com/coppice-vm/coppice/internal/thread"
)

// as does what of the file system's permissions depends on who asks: it runs
// do on a thread that is the user for the file system, and for nothing else.
func (u user) as(do func() error) error {
	if u.uid == 0 {
		return do()
	}
	return thread.Run(func() error {
		if err := u.assume(); err != nil {
			return err
		}
		return do()
	})
}

// assume makes the calling thread the user for the file system. It goes by
// the bare system calls: those of package syscall change every thread.
func (u user) assume() error {
	groups := append([]uint32{u.gid}, u.groups...)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
		return fmt.Errorf("take the groups of %s: %w", u.name, errno)
	}
	unix.RawSyscall(unix.SYS_SETFSGID, uintptr(u.gid), 0, 0)
	unix.RawSyscall(unix.SYS_SETFSUID, uintptr(u.uid), 0, 0)
	// They report no errors, only what was before.
	if now, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, uintptr(u.uid), 0, 0); uint32(now) != u.uid {
		return fmt.Errorf("become %s: %w", u.name, fs.ErrPermission)
	}
	return nil
}

// open sends what a file contains, or a directory.
func (x *exchange) open() error {
	u, err := x.agent.lookUp(x.File.User)
	if err != nil {
		return err
	}
	var f *os.File
	err = u.as(func() (err error) {
		// Nonblocking, so that a pipe does not wait for its other end.
		f, err = os.OpenFile(u.abs(x.File.Name), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		return err
	})
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is neither a file nor a directory: %w", f.Name(), fs.ErrInvalid)
	}
	if err := x.answer(wire.FileInfo{Mode: info.Mode(), Size: info.Size()}); err != nil {
		return err
	}
	if info.IsDir() {
		err = x.sendEntries(f)
	} else {
		err = x.sendContent(f)
	}
	if err != nil {
		return err
	}
	return wire.Write(x.stream, wire.End, nil)
}

func (x *exchange) sendContent(r io.Reader) error {
	frame := make([]byte, wire.FrameOverhead+wire.MaxData)
	for {
		n, err := r.Read(frame[wire.FrameOverhead:])
		if n > 0 {
			whole := frame[:wire.FrameOverhead+n]
			wire.PutHeader(whole, wire.Data)
			if _, err := x.stream.Write(whole); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (x *exchange) sendEntries(dir *os.File) error {
	for {
		entries, err := dir.ReadDir(100) // at most 256 bytes each: less than a frame
		var listing []byte
		for _, entry := range entries {
			kind := byte('f')
			if entry.IsDir() {
				kind = 'd'
			}
			listing = append(append(append(listing, kind), entry.Name()...), 0)
		}
		if len(listing) > 0 {
			if err := wire.Write(x.stream, wire.Data, listing); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// write replaces a file by what the host sends.
func (x *exchange) write() error {
	u, err := x.agent.lookUp(x.File.User)
	if err != nil {
		return err
	}
	var r *replacement
	err = u.as(func() (err error) {
		r, err = u.replace(u.abs(x.File.Name), x.File.Mode)
		return err
	})
	if err != nil {
		return err
	}
	if err = x.receive(r.tmp); err == nil {
		err = r.finish()
	}
	if err == nil {
		err = u.as(func() error { return os.Rename(r.tmp.Name(), r.name) })
	}
	r.tmp.Close()
	if err != nil {
		u.as(func() error { return os.Remove(r.tmp.Name()) })
		return err
	}
	return x.answer(wire.Done{})
}

// receive writes data to w until its end.
func (x *exchange) receive(w io.Writer) error {
	for {
		frame, err := x.frames.Next(wire.MaxFrame)
		if err != nil {
			return err // the host gave up
		}
		switch frame.Kind {
		case wire.Data:
			if _, err := w.Write(frame.Content); err != nil {
				return err
			}
		case wire.End:
			return nil
		default:
			return errors.New("a frame that is no data")
		}
	}
}

// A replacement is a file that is to take another's name, mode and owner.
type replacement struct {
	name string // of the file to replace, links followed
	old  fs.FileInfo
	mode fs.FileMode
	tmp  *os.File
}

// replace begins a replacement, as the user.
func (u user) replace(name string, mode fs.FileMode) (*replacement, error) {
	name, err := followLinks(name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	r := &replacement{name: name, mode: mode}
	if r.old, err = os.Stat(name); err == nil {
		if !r.old.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a file: %w", name, fs.ErrInvalid)
		}
		// Its directory may allow to replace it; that it may be written to is asked too.
		if err := unix.Faccessat2(unix.AT_FDCWD, name, unix.W_OK, unix.AT_EACCESS); err != nil {
			return nil, &fs.PathError{Op: "write", Path: name, Err: err}
		}
		r.mode = r.old.Mode().Perm()
		if u.uid == 0 {
			r.mode |= r.old.Mode() & (fs.ModeSetuid | fs.ModeSetgid)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	r.tmp, err = os.OpenFile(filepath.Join(filepath.Dir(name), ".coppice-"+rand.Text()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	return r, err
}

// finish makes the replacement what the file was, and durable. It runs as
// root: a user who may write to another's file leaves it the other's.
func (r *replacement) finish() error {
	if r.old != nil {
		owner := r.old.Sys().(*syscall.Stat_t)
		if err := r.tmp.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	if err := r.tmp.Chmod(r.mode); err != nil {
		return err
	}
	return r.tmp.Sync()
}

// followLinks returns where the symbolic links of a name lead in the end, if
// name is one, whether or not there is anything.
func followLinks(name string) (string, error) {
	for range 40 { // as many as the kernel follows
		target, err := os.Readlink(name)
		switch {
		case errors.Is(err, syscall.EINVAL), errors.Is(err, fs.ErrNotExist):
			return name, nil // no link
		case err != nil:
			return "", err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(name), target)
		}
		name = target
	}
	return "", &fs.PathError{Op: "write", Path: name, Err: syscall.ELOOP}
}
