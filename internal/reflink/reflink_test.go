package reflink_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/coppice-vm/coppice/internal/reflink"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
)

func TestClone(t *testing.T) {
	dir := reflinktest.Dir(t)
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	want := bytes.Repeat([]byte("coppice\n"), 4096)
	if err := os.WriteFile(src, want, 0o640); err != nil {
		t.Fatal(err)
	}
	if ok, err := reflink.Supported(dir); !ok || err != nil {
		t.Fatalf("Supported = %v, %v on a file system that was made for it", ok, err)
	}
	if err := reflink.Clone(dst, src); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(dst); !bytes.Equal(got, want) {
		t.Error("the clone differs")
	}
	if info, err := os.Stat(dst); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	// The copies are independent.
	f, err := os.OpenFile(dst, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("other"), 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got, _ := os.ReadFile(src); !bytes.Equal(got, want) {
		t.Error("writing the clone changed the source")
	}

	if err := reflink.Clone(dst, src); !errors.Is(err, os.ErrExist) {
		t.Errorf("cloning over a file: %v, want ErrExist", err)
	}
	if got, _ := os.ReadFile(dst); !bytes.HasPrefix(got, []byte("other")) {
		t.Error("the refused clone touched the file that was there")
	}
}

func TestCloneUnsupported(t *testing.T) {
	// /dev/shm is tmpfs, which has no blocks to share.
	dir, err := os.MkdirTemp("/dev/shm", "reflink-test-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(dir)
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	if err := os.WriteFile(src, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := reflink.Clone(dst, src); !errors.Is(err, reflink.ErrUnsupported) {
		t.Errorf("err = %v, want ErrUnsupported", err)
	}
	if _, err := os.Stat(dst); !errors.Is(err, os.ErrNotExist) {
		t.Error("the failed clone left its file")
	}
	if ok, err := reflink.Supported(dir); ok || err != nil {
		t.Errorf("Supported = %v, %v, want false, nil", ok, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("Supported left files: %v", left)
	}
}
