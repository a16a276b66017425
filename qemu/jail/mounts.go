package jail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A source is something of the host that the jail will have under the same name.
type source struct {
	name string
	link string // what it points at, if it is a symbolic link
	tree int    // a mount of it, else
	dir  bool
}

type sources []source

// What a mount of something of the host may not be used for.
const (
	system = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	data   = unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
)

// sources takes hold of all that the jail will have of the host.
func (j Jail) sources() (all sources, err error) {
	take := func(name string, attributes uint64) error {
		s, err := hold(name, attributes)
		if err == nil {
			all = append(all, s)
		}
		return err
	}
	for _, name := range j.System {
		if link, err := os.Readlink(name); err == nil {
			all = append(all, source{name: name, link: link})
		} else if err := take(name, system); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return all, err
		}
	}
	for _, name := range j.Read {
		if err := take(name, data|unix.MOUNT_ATTR_RDONLY); err != nil {
			return all, err
		}
	}
	for _, name := range j.Write {
		if err := errors.Join(os.Chown(name, j.User, j.User), take(name, data)); err != nil {
			return all, err
		}
	}
	return all, nil
}

// hold takes hold of what has a name, to be mounted with attributes.
func hold(name string, attributes uint64) (source, error) {
	info, err := os.Stat(name)
	if err != nil {
		return source{}, err
	}
	s := source{name: name, dir: info.IsDir()}
	if s.tree, err = unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC); err != nil {
		return s, fmt.Errorf("take hold of %s: %w", name, err)
	}
	if err := unix.MountSetattr(s.tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: attributes}); err != nil {
		unix.Close(s.tree)
		return s, fmt.Errorf("restrict the mount of %s: %w", name, err)
	}
	return s, nil
}

// attach gives everything its name below root.
func (all sources) attach(root string) error {
	for _, s := range all {
		if err := s.attach(filepath.Join(root, s.name)); err != nil {
			return fmt.Errorf("put %s into a jail: %w", s.name, err)
		}
	}
	return nil
}

func (s source) attach(name string) error {
	switch {
	case s.link != "":
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		return os.Symlink(s.link, name)
	case s.dir:
		if err := os.MkdirAll(name, 0o755); err != nil {
			return err
		}
	default:
		f, err := create(name)
		if err != nil {
			return err
		}
		f.Close()
	}
	return unix.MoveMount(s.tree, "", unix.AT_FDCWD, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func (all sources) close() {
	for _, s := range all {
		if s.link == "" {
			unix.Close(s.tree)
		}
	}
}
