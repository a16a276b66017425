package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// run runs a command with its output in log. What the command starts and
// mounts is gone when run returns, and when this process is killed: it lives
// in namespaces of its own. An error has the end of the output in it.
func run(ctx context.Context, log *os.File, name string, args ...string) error {
	start, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "TMPDIR=/tmp",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   unix.CLONE_NEWPID, // the end of its first process is the end of all
		Unshareflags: unix.CLONE_NEWNS,
		Pdeathsig:    unix.SIGKILL,
	}
	// The kernel takes the end of the thread for that of the parent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); ctx.Err() != nil {
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	} else if err != nil {
		return fmt.Errorf("%s: %w; its last words, of %s:\n%s", name, err, log.Name(), tail(log, start))
	}
	return nil
}

// tail returns the last lines of log, of those after start.
func tail(log *os.File, start int64) string {
	const lines = 12
	data, err := io.ReadAll(io.NewSectionReader(log, start, 1<<30))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// lockDir takes the lock of a directory; closing the file gives it back.
func lockDir(ctx context.Context, dir string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		select { // the kernel tells nobody that a lock is free
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
