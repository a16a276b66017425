package pool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/reflink"
)

// minImageBytes is the smallest image worth making: a base image of a guest
// and little else.
const minImageBytes = 1 << 30

// EnsureFilesystem makes the directory dir, if it is not there, and sees to it
// that its file system can share blocks. Where the host's cannot, it makes an
// XFS image beside the directory (its name and ".xfs") and mounts it there by a
// loop device; an image that is there is mounted, as it must be after the
// host's boot, or once more if it has shut down. Calling it again costs nothing. It takes root, and mkfs.xfs for
// a new image.
//
// The image is sparse: it is as large as 90 % of what is free around it, or
// maxBytes if that is less and not 0, but takes only what is written to it.
// Should others fill the file system around it meanwhile, writes into the pool
// fail that the pool has room for, and XFS may shut down; [Pool.Usage] and
// [coppice.ErrNoSpace] look at both file systems.
func EnsureFilesystem(ctx context.Context, dir string, maxBytes int64, log *slog.Logger) error {
	if err := ensure(ctx, dir, maxBytes, log); err != nil {
		return fmt.Errorf("file system for pool %s: %w", dir, err)
	}
	return nil
}

func ensure(ctx context.Context, dir string, maxBytes int64, log *slog.Logger) error {
	image := imageOf(dir)
	at, err := mountPoint(image)
	if err != nil {
		return err
	}
	if at != "" {
		if err := alive(at); err == nil {
			return nil
		}
		log.Warn("the pool's file system has shut down: mounting it anew", "image", image)
		if err := unmount(at); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(image); errors.Is(err, os.ErrNotExist) {
		if ok, err := reflink.Supported(dir); ok || err != nil {
			return err
		}
		if err := makeImage(ctx, dir, maxBytes, log); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return mount(ctx, dir, log)
}

// alive returns an error if the file system of dir has shut itself down, as
// XFS does when it cannot write its journal.
func alive(dir string) error {
	_, err := os.Stat(dir)
	return err
}

// imageOf returns the name of the image that is mounted at dir.
func imageOf(dir string) string { return filepath.Clean(dir) + ".xfs" }

// makeImage makes the image for dir. Interrupted, it leaves none.
func makeImage(ctx context.Context, dir string, maxBytes int64, log *slog.Logger) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return errors.New("the directory has files, which a mount would hide: empty it")
	}
	around, err := statfs(filepath.Dir(dir))
	if err != nil {
		return err
	}
	size := around.FreeBytes / 10 * 9
	if maxBytes > 0 {
		size = min(size, maxBytes)
	}
	if size < minImageBytes {
		return fmt.Errorf("%w: an image takes 1 GiB at the least, and %d MiB can be had", coppice.ErrNoSpace, size>>20)
	}
	log.Info("making a file system for the pool, which can share blocks", "image", imageOf(dir), "MiB", size>>20)

	tmp := imageOf(dir) + ".new"
	if err := os.WriteFile(tmp, nil, 0o600); err != nil { // over one that was left half made
		return err
	}
	defer os.Remove(tmp) // fails after the rename, as it should
	if err := os.Truncate(tmp, size); err != nil {
		return err
	}
	// Sectors of 4096 bytes, so that direct I/O works whatever disk is below.
	if err := run(ctx, "mkfs.xfs", "-q", "-m", "reflink=1", "-s", "size=4096", tmp); err != nil {
		return err
	}
	if err := syncFile(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, imageOf(dir)); err != nil {
		return err
	}
	return syncFile(filepath.Dir(dir))
}

// mount mounts the image of dir.
func mount(ctx context.Context, dir string, log *slog.Logger) error {
	// discard: what is deleted in the image goes back to the file system around it.
	err := run(ctx, "mount", "-t", "xfs", "-o", "loop,discard,noatime,nosuid,nodev,noexec", imageOf(dir), dir)
	if err != nil {
		return err
	}
	dev, err := loopUnder(dir)
	if err != nil {
		return err
	}
	// Without it every block is cached twice, and memory pressure is resolved late.
	if err := directIO(dev); err != nil {
		log.Warn("no direct I/O for the pool's image: it works, and takes more memory", "device", dev, "error", err)
	}
	return nil
}

// Unmount undoes the mount of [EnsureFilesystem] and leaves the image. It fails
// if files of the pool are open, as a running VM's are. nil if nothing is mounted.
func Unmount(ctx context.Context, dir string) error {
	at, err := mountPoint(imageOf(dir))
	if err == nil && at != "" {
		err = unmount(at)
	}
	if err == nil {
		err = detach(imageOf(dir))
	}
	if err != nil {
		return fmt.Errorf("unmount pool %s: %w", dir, err)
	}
	return nil
}

func unmount(at string) error {
	err := unix.Unmount(at, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: files are open there, as those of a running VM", err)
	}
	return err
}

// Remove removes the directory of a pool with all that is in it, and the image
// that was mounted there. nil if there is nothing.
func Remove(ctx context.Context, dir string) error {
	if err := Unmount(ctx, dir); err != nil {
		return err
	}
	for _, name := range []string{dir, imageOf(dir), imageOf(dir) + ".new"} {
		if err := os.RemoveAll(name); err != nil {
			return fmt.Errorf("remove pool %s: %w", dir, err)
		}
	}
	return nil
}

func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: install the package that has it (xfsprogs, mount)", err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
