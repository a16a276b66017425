package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/thread"
)

// inside runs f on a thread in a network namespace. Sockets made there belong
// there for good, and can be used anywhere.
func inside(ns *os.File, f func() error) error {
	return thread.Run(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: %w", ns.Name(), err)
		}
		return f()
	})
}

// newNamespace returns a new network namespace in which furnish has been run.
// It goes when it is closed, unless it is kept.
func newNamespace(furnish func() error) (ns *os.File, err error) {
	err = thread.Run(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if err := furnish(); err != nil {
			return err
		}
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return ns, err
}

// keepNamespace has a namespace kept by a file.
func keepNamespace(ns *os.File, name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), name, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("keep a network namespace as %s: %w", name, err)
	}
	return nil
}

// openNamespace opens a namespace that a file keeps. [coppice.ErrNoNetwork] if
// it keeps none: it is not there, or of before the host was booted.
func openNamespace(name string) (*os.File, error) {
	ns, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, coppice.ErrNoNetwork
	}
	if err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(ns.Fd()), &st); err != nil || st.Type != unix.NSFS_MAGIC {
		ns.Close()
		return nil, errors.Join(err, coppice.ErrNoNetwork)
	}
	return ns, nil
}

// dropNamespace removes a file with the namespace it keeps; nil if there is none.
func dropNamespace(name string) error {
	err := unix.Unmount(name, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // no mount, no file
		return fmt.Errorf("let a network namespace go: %w", err)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
