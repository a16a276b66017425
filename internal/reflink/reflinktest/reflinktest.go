// Package reflinktest gives tests a directory whose file system shares blocks.
package reflinktest

import (
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

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
