// Package reflink copies files by sharing their blocks (FICLONE): at once,
// whatever their size, and at no cost in space until one of them is written.
package reflink

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrUnsupported means that the file system cannot share blocks, or that the
// two files are not on the same one.
var ErrUnsupported = errors.New("the file system cannot share blocks between files")

// Clone makes dst, which may not exist yet, a copy of src that shares its
// blocks. If it fails there is no dst, unless dst was there before. Nothing is
// made durable. What src's page cache holds is written back first, so cloning
// a file that was just written takes as long as syncing it.
func Clone(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	err = errors.Join(CloneFile(out, in), out.Close())
	if err != nil {
		os.Remove(dst)
	}
	return err
}

// CloneFile replaces the content of dst, open for writing, by that of src,
// open for reading. A dst that was longer than src keeps its tail.
func CloneFile(dst, src *os.File) error {
	err := control(dst, src)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EXDEV):
		err = fmt.Errorf("%w (%w)", ErrUnsupported, err)
	}
	return &os.LinkError{Op: "clone", Old: src.Name(), New: dst.Name(), Err: err}
}

// Supported reports whether files in dir can share blocks, by trying it.
func Supported(dir string) (bool, error) {
	src, err := os.CreateTemp(dir, ".reflink-")
	if err != nil {
		return false, err
	}
	defer os.Remove(src.Name())
	defer src.Close()
	// An empty file clones anywhere that has the ioctl; a block of data is the real question.
	if _, err := src.Write(make([]byte, 4096)); err != nil {
		return false, err
	}
	dst := src.Name() + "-clone"
	defer os.Remove(dst)
	err = Clone(dst, src.Name())
	if errors.Is(err, ErrUnsupported) {
		return false, nil
	}
	return err == nil, err
}

// control issues the ioctl while both descriptors are held open, without
// taking the files out of the runtime's poller as Fd would.
func control(dst, src *os.File) error {
	d, err := dst.SyscallConn()
	if err != nil {
		return err
	}
	s, err := src.SyscallConn()
	if err != nil {
		return err
	}
	var clone error
	err = d.Control(func(dfd uintptr) {
		err := s.Control(func(sfd uintptr) { clone = unix.IoctlFileClone(int(dfd), int(sfd)) })
		if err != nil {
			clone = err
		}
	})
	return errors.Join(err, clone)
}
