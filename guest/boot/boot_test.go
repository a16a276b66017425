package boot

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGone(t *testing.T) {
	t.Run("never there", func(t *testing.T) {
		if err := gone(t.Context(), filepath.Join(t.TempDir(), "nologin")); err != nil {
			t.Error(err)
		}
	})
	for how, remove := range map[string]func(name string) error{
		"removed": os.Remove,
		"renamed": func(name string) error { return os.Rename(name, name+"-not") },
	} {
		t.Run(how, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "nologin")
			write(t, name)
			done := make(chan error, 1)
			go func() { done <- gone(t.Context(), name) }()
			// What happens to other files, and to its content, is no news.
			write(t, name+"-other")
			write(t, name)
			if err := os.Remove(name + "-other"); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-done:
				t.Fatalf("it is said to be gone (%v)", err)
			case <-time.After(20 * time.Millisecond):
			}
			if err := remove(name); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "nologin")
		write(t, name)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- gone(ctx, name) }()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v, want that the context ended", err)
		}
	})
	t.Run("nowhere", func(t *testing.T) {
		if err := gone(t.Context(), filepath.Join(t.TempDir(), "no", "nologin")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the error is %v, want that the directory is not there", err)
		}
	})
}

func TestMaskGenerators(t *testing.T) {
	all := []string{"systemd-sysv-generator"}
	for name := range inputs {
		all = append(all, name)
	}
	for name, test := range map[string]struct {
		files []string
		runs  []string // the generators that are not masked
	}{
		"an image as built":          {files: []string{"etc/init.d/ssh", "lib/systemd/system/ssh.service", "etc/init.d/hwclock.sh", "lib/systemd/system/hwclock.service"}},
		"file systems":               {files: []string{"etc/fstab"}, runs: []string{"systemd-fstab-generator"}},
		"encrypted disks":            {files: []string{"etc/crypttab"}, runs: []string{"systemd-cryptsetup-generator"}},
		"a script of old":            {files: []string{"etc/init.d/ssh", "etc/init.d/fetchmail", "lib/systemd/system/ssh.service"}, runs: []string{"systemd-sysv-generator"}},
		"a unit of one's own for it": {files: []string{"etc/init.d/fetchmail", "etc/systemd/system/fetchmail.service"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for _, file := range test.files {
				write(t, filepath.Join(root, file))
			}
			if err := maskGenerators(root); err != nil {
				t.Fatal(err)
			}
			var runs []string
			for _, generator := range all {
				target, err := os.Readlink(filepath.Join(root, "run/systemd/system-generators", generator))
				if errors.Is(err, fs.ErrNotExist) {
					runs = append(runs, generator)
				} else if err != nil || target != "/dev/null" {
					t.Errorf("%s is a link to %q (%v)", generator, target, err)
				}
			}
			if diff := cmp.Diff(test.runs, runs); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLoadModulesSaysWhichFails(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "modules.order")
	missing := filepath.Join(dir, "virtio_magic.ko")
	if err := os.WriteFile(list, []byte(missing+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var pathErr *fs.PathError
	if err := loadModules(list); !errors.As(err, &pathErr) || pathErr.Path != missing {
		t.Errorf("the error is %v, want one that names %s", err, missing)
	}
}

func write(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
