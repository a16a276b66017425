package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// noLogin is there while init is not yet far enough for people to log in (see
// nologin(5)). Process 1 of the initrd makes it, systemd removes it when the
// file systems, /tmp, /run and the message bus are in order.
const noLogin = "/run/nologin"

// Usable returns when the guest's init would let people log in: the root is
// writable, /tmp is cleaned and systemctl gets answers. It returns at once in a
// guest that is past that. An error is ctx's, or says that the file system
// cannot be watched.
func Usable(ctx context.Context) error {
	return gone(ctx, noLogin)
}

// gone returns when there is no file of that name.
func gone(ctx context.Context, name string) error {
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch %s: %w", name, err)
	}
	events := os.NewFile(uintptr(watch), "inotify")
	defer events.Close()
	if _, err := unix.InotifyAddWatch(watch, filepath.Dir(name), unix.IN_DELETE|unix.IN_MOVED_FROM); err != nil {
		return fmt.Errorf("watch %s: %w", name, err)
	}
	stop := context.AfterFunc(ctx, func() { events.Close() })
	defer stop()
	buf := make([]byte, 4096)
	for {
		// Looked at after the watch was set, so that no removal is missed.
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if _, err := events.Read(buf); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("watch %s: %w", name, err)
		}
	}
}
