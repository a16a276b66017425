package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/internal/reflink"
)

// mkfsOptions make a file system that needs no work in the guest: nothing of
// it is left for a kernel thread to initialise. What mkfs zeroes stays sparse.
var mkfsOptions = []string{
	"-q", "-F", "-t", "ext4", "-L", "root", "-m", "1", "-e", "remount-ro", "-J", "size=64",
	"-E", "lazy_itable_init=0,lazy_journal_init=0",
}

// makeDisk makes the sparse file disk with an ext4 file system that has the
// content of the directory root. key, 16 hexadecimal digits, names the file system.
func makeDisk(ctx context.Context, disk, root, key string, log *os.File) error {
	f, err := os.Create(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(diskMiB << 20); err != nil {
		return err
	}
	uuid := fmt.Sprintf("%s-%s-4%s-8%s-%s", key[:8], key[8:12], key[12:15], key[:3], key[4:])
	args := slices.Concat(mkfsOptions, []string{"-E", "hash_seed=" + uuid, "-U", uuid, "-d", root, disk})
	return run(ctx, log, "mkfs.ext4", args...)
}

// copyFile makes the new file dst a copy of src that shares its blocks or,
// where the file system cannot do that, has its holes.
func copyFile(ctx context.Context, dst, src string) error {
	err := reflink.Clone(dst, src)
	if !errors.Is(err, reflink.ErrUnsupported) {
		return err
	}
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	if err := errors.Join(copySparse(ctx, out, in), out.Close()); err != nil {
		return fmt.Errorf("copy %s to %s: %w", src, dst, err)
	}
	return nil
}

func copySparse(ctx context.Context, out, in *os.File) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	for end := int64(0); ctx.Err() == nil; {
		start, err := in.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // no data after end
		}
		if err != nil {
			return err
		}
		if end, err = in.Seek(start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := in.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := out.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(out, in, end-start); err != nil {
			return err
		}
	}
	return ctx.Err()
}
