package pool_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/reflink"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
	"github.com/coppice-vm/coppice/pool"
)

const gib = 1 << 30

// plainDir returns a directory whose file system cannot share blocks.
func plainDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if ok, err := reflink.Supported(dir); err != nil {
		t.Fatal(err)
	} else if !ok {
		return dir
	}
	dir, err := os.MkdirTemp("/dev/shm", "coppice-pool-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// place returns the name of a directory that a file system may be made for,
// and removes what was made for it after the test.
func place(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	dir := filepath.Join(plainDir(t), "pool")
	t.Cleanup(func() {
		if err := pool.Remove(context.Background(), dir); err != nil {
			t.Error(err)
		}
		if dev := loopOf(t, dir+".xfs"); dev != "" {
			t.Errorf("loop device %s is left", dev)
		}
	})
	return dir
}

// ensured returns a directory with a file system of 1 GiB made for it.
func ensured(t testing.TB) string {
	t.Helper()
	dir := place(t)
	ensure(t, dir)
	return dir
}

func ensure(t testing.TB, dir string) {
	t.Helper()
	if err := pool.EnsureFilesystem(t.Context(), dir, gib, discard); err != nil {
		t.Fatal(err)
	}
}

// loopOf returns the loop device of an image, empty if there is none.
func loopOf(t testing.TB, image string) string {
	t.Helper()
	out, err := exec.Command("losetup", "--noheadings", "--output", "NAME", "--associated", image).Output()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		if _, missing := os.Stat(image); missing == nil {
			t.Fatal(err)
		}
	}
	return strings.TrimSpace(string(out))
}

func TestEnsureFilesystem(t *testing.T) {
	dir := ensured(t)
	if ok, err := reflink.Supported(dir); !ok || err != nil {
		t.Fatalf("it cannot share blocks: %v", err)
	}
	info, err := os.Stat(dir + ".xfs")
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 || info.Size() != gib {
		t.Errorf("the image has mode %v and %d bytes", info.Mode(), info.Size())
	}
	note := filepath.Join(dir, "note")
	if err := os.WriteFile(note, []byte("keep me"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantNote := func() {
		t.Helper()
		if got, err := os.ReadFile(note); err != nil || string(got) != "keep me" {
			t.Errorf("the file in it reads %q, %v", got, err)
		}
	}

	// Again, while it is mounted.
	before := loopOf(t, dir+".xfs")
	ensure(t, dir)
	wantNote()
	if after := loopOf(t, dir+".xfs"); before == "" || after != before {
		t.Errorf("the image is on %q, after a second call on %q", before, after)
	}
	if mounts := mountsAt(t, dir); mounts != 1 {
		t.Errorf("%d mounts at the directory, want 1", mounts)
	}

	// And after it was unmounted, as by a reboot.
	for range 2 {
		if err := pool.Unmount(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		if dev := loopOf(t, dir+".xfs"); dev != "" || mountsAt(t, dir) != 0 {
			t.Errorf("after Unmount there are loop device %q and %d mounts", dev, mountsAt(t, dir))
		}
	}
	ensure(t, dir)
	wantNote()
}

func mountsAt(t testing.TB, dir string) int {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(mounts), " "+dir+" ")
}

func TestEnsureFilesystemAfterAnInterruptedOne(t *testing.T) {
	dir := place(t)
	if err := os.WriteFile(dir+".xfs.new", []byte("half made"), 0o600); err != nil {
		t.Fatal(err)
	}
	ensure(t, dir)
	if _, err := os.Stat(dir + ".xfs.new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half made image: %v", err)
	}
	open(t, dir)
}

func TestEnsureFilesystemWithAStaleLoopDevice(t *testing.T) {
	dir := ensured(t)
	if err := pool.Unmount(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("losetup", "--find", dir+".xfs").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ensure(t, dir)
	if err := pool.Unmount(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if dev := loopOf(t, dir+".xfs"); dev != "" {
		t.Errorf("loop device %s is left", dev)
	}
}

func TestEnsureFilesystemLeavesGoodOnesAlone(t *testing.T) {
	dir := filepath.Join(reflinktest.Dir(t), "pool")
	ensure(t, dir)
	if got := names(t, filepath.Dir(dir)); len(got) != 1 {
		t.Errorf("it made %v", got)
	}
	open(t, dir).Close()
	if err := pool.Unmount(t.Context(), dir); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := pool.Remove(t.Context(), dir); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Remove: %v", err)
	}
}

func TestEnsureFilesystemRefuses(t *testing.T) {
	t.Run("a directory with files", func(t *testing.T) {
		dir := place(t)
		if err := os.MkdirAll(filepath.Join(dir, "photos"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := pool.EnsureFilesystem(t.Context(), dir, gib, discard); err == nil || !strings.Contains(err.Error(), "has files") {
			t.Errorf("error %v", err)
		}
		if got := names(t, dir); len(got) != 1 {
			t.Errorf("the directory has %v", got)
		}
	})
	t.Run("too little space", func(t *testing.T) {
		dir := place(t)
		if err := pool.EnsureFilesystem(t.Context(), dir, gib/2, discard); !errors.Is(err, coppice.ErrNoSpace) {
			t.Errorf("error %v, want ErrNoSpace", err)
		}
		if got := names(t, filepath.Dir(dir)); len(got) != 1 {
			t.Errorf("it left %v", got)
		}
	})
}

func TestUnmountInUse(t *testing.T) {
	dir := ensured(t)
	f, err := os.Create(filepath.Join(dir, "in use"))
	if err != nil {
		t.Fatal(err)
	}
	for what, call := range map[string]func(context.Context, string) error{"Unmount": pool.Unmount, "Remove": pool.Remove} {
		if err := call(t.Context(), dir); !errors.Is(err, unix.EBUSY) {
			t.Errorf("%s: %v, want EBUSY", what, err)
		}
	}
	f.Close()
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("after the refusal there is %v", got)
	}
}

// TestFreedSpaceGoesBack holds that what is deleted in the pool is free again
// around its image.
func TestFreedSpaceGoesBack(t *testing.T) {
	const written = 64 << 20
	dir := ensured(t)
	used := func() int64 {
		var st unix.Stat_t
		if err := unix.Stat(dir+".xfs", &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	before := used()
	noise := make([]byte, written)
	rand.Read(noise)
	name := filepath.Join(dir, "noise")
	if err := os.WriteFile(name, noise, 0o600); err != nil {
		t.Fatal(err)
	}
	syncDir(t, dir)
	if grown := used() - before; grown < written/2 {
		t.Fatalf("the image grew by %d bytes, %d were written", grown, written)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); used()-before > written/2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are still taken", used()-before)
		}
		syncDir(t, dir) // the kernel gives back what its journal has recorded as free
	}
}

// syncDir writes out everything of dir's file system.
func syncDir(t testing.TB, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
}
