// Package reflinktest gives tests a directory whose file system shares blocks,
// and fills file systems.
package reflinktest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/internal/reflink"
)

// imageBytes is the size of the file system Dir makes. The file is sparse.
const imageBytes = 32 << 30

// Dir returns an empty directory on a file system that shares blocks. Where
// the temporary directory is not on one, it mounts a sparse XFS image for the
// duration of the test, which takes root; without, the test is skipped.
func Dir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if ok, err := reflink.Supported(dir); err != nil {
		t.Fatal(err)
	} else if ok {
		return dir
	}
	if os.Geteuid() != 0 {
		t.Skip("needs a file system that shares blocks, or root to mount one")
	}
	img, mnt := filepath.Join(dir, "xfs"), filepath.Join(dir, "mnt")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, imageBytes); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.xfs", "-q", "-m", "reflink=1", img)
	run(t, "mount", "-o", "loop", img, mnt)
	t.Cleanup(func() {
		err := unix.Unmount(mnt, 0)
		if err == nil {
			return
		}
		t.Errorf("unmount %s: %v: the test left a file open", mnt, err)
		if err := unix.Unmount(mnt, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return mnt
}

// Fill takes what is free of the file system that dir is on, to the last block,
// by a file in dir that may be there already. free gives it back; the end of the
// test does so too.
func Fill(t testing.TB, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	free = func() {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
	t.Cleanup(free)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, unix.ENOSPC) {
		return free // there is no block for its name
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	end := info.Size()
	for piece := int64(1 << 40); piece >= 4096; {
		err := unix.Fallocate(int(f.Fd()), 0, end, piece)
		switch {
		case err == nil:
			end += piece
		case errors.Is(err, unix.ENOSPC):
			piece /= 2
		default:
			t.Fatal(err)
		}
	}
	return free
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
