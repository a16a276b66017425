package mountinfo_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/internal/mountinfo"
)

// What is mounted twice has one place, by whatever name, and however it is spelt.
func TestLocate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	fs, second := filepath.Join(dir, "a file\tsystem \\040"), filepath.Join(dir, "second")
	for _, name := range []string{fs, second} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mount := func(source, target, kind string, flags uintptr) {
		t.Helper()
		if err := unix.Mount(source, target, kind, flags, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	mount("none", fs, "tmpfs", 0)
	within := filepath.Join(fs, "with in")
	if err := os.Mkdir(within, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(within, second, "", unix.MS_BIND)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(second, link); err != nil {
		t.Fatal(err)
	}
	want, err := mountinfo.Locate(within)
	if err != nil || want.Path != "/with in" {
		t.Fatalf("%+v, %v", want, err)
	}
	for _, name := range []string{second, link} {
		if got, err := mountinfo.Locate(name); err != nil || got != want {
			t.Errorf("%s is at %+v (%v), want %+v", name, got, err, want)
		}
	}
	if other, err := mountinfo.Locate(dir); err != nil || other.Device == want.Device {
		t.Errorf("%s is at %+v, %v", dir, other, err)
	}
	if err := os.Remove(within); err != nil {
		t.Fatal(err)
	}
	mounts, err := mountinfo.Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if m.Point == second {
			if m.Place != want || m.Type != "tmpfs" {
				t.Errorf("what was removed is at %+v, and was at %+v", m, want)
			}
			return
		}
	}
	t.Errorf("nothing is mounted at %s", second)
}
