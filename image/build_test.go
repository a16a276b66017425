package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestKey(t *testing.T) {
	key, err := recipeKey()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.ParseUint(key, 16, 64); len(key) != 16 || err != nil {
		t.Errorf("the key is %q (%d, %v), want 16 hexadecimal digits", key, n, err)
	}
	if again, _ := recipeKey(); again != key {
		t.Errorf("the key is %s, and then %s", key, again)
	}
}

func TestID(t *testing.T) {
	base := Base{Key: "0123456789abcdef", Kernel: "6.1.0-1-cloud-amd64", Packages: []string{"bash 5.2", "git 2.39"}}
	id := base.ID([]byte("agent"))
	if again := base.ID([]byte("agent")); again != id {
		t.Errorf("the id is %s, and then %s", id, again)
	}
	for what, other := range map[string]Base{
		"recipe":  {Key: "0123456789abcdee", Kernel: base.Kernel, Packages: base.Packages},
		"kernel":  {Key: base.Key, Kernel: "6.1.0-2-cloud-amd64", Packages: base.Packages},
		"package": {Key: base.Key, Kernel: base.Kernel, Packages: []string{"bash 5.2", "git 2.40"}},
	} {
		if other.ID([]byte("agent")) == id {
			t.Errorf("another %s, the same id", what)
		}
	}
	if base.ID([]byte("agent 2")) == id {
		t.Error("another agent, the same id")
	}
}

// cached puts a base into the cache of b, as if it had been built.
func cached(t *testing.T, b *Builder) *Base {
	t.Helper()
	key, err := recipeKey()
	if err != nil {
		t.Fatal(err)
	}
	base := &Base{Key: key, Kernel: "6.1.0-1-cloud-amd64", Packages: []string{"bash 5.2"}, dir: t.TempDir()}
	write(t, filepath.Join(base.dir, kernelFile), "kernel")
	write(t, filepath.Join(base.dir, driversFile), string(cpio([]cpioEntry{{name: "driver.ko", mode: cpioFile | 0o644}})))
	disk := filepath.Join(base.dir, diskFile)
	write(t, disk, "first block")
	if err := os.Truncate(disk, diskMiB<<20); err != nil {
		t.Fatal(err)
	}
	if err := base.commit(filepath.Join(b.CacheDir, "base-"+key)); err != nil {
		t.Fatal(err)
	}
	return base
}

func TestBuildFromCache(t *testing.T) {
	// There is no lock file to take: what is cached needs no lock.
	b := &Builder{CacheDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	want := cached(t, b)
	got, err := b.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Base{})); diff != "" {
		t.Error(diff)
	}
}

func TestInstall(t *testing.T) {
	base := cached(t, &Builder{CacheDir: t.TempDir()})
	dir := t.TempDir()
	img, err := base.Install(t.Context(), []byte("agent"), dir)
	if err != nil {
		t.Fatal(err)
	}
	if img.ID != base.ID([]byte("agent")) || img.Cmdline == "" || img.DiskMiB != 16384 {
		t.Errorf("the image is %+v", img)
	}
	var names []string
	archive, err := os.ReadFile(filepath.Join(dir, img.Initrd))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range unpack(t, archive) {
		names = append(names, e.name)
	}
	if diff := cmp.Diff([]string{"dev", "dev/console", "init", "driver.ko"}, names); diff != "" {
		t.Errorf("the initrd has other files: %s", diff)
	}
	if kernel, err := os.ReadFile(filepath.Join(dir, img.Kernel)); string(kernel) != "kernel" {
		t.Errorf("the kernel is %q, %v", kernel, err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, img.Disk), &stat); err != nil {
		t.Fatal(err)
	}
	if stat.Size != diskMiB<<20 || stat.Blocks*512 > 1<<20 {
		t.Errorf("the disk has %d bytes, %d of them for real", stat.Size, stat.Blocks*512)
	}
}

func TestCopySparse(t *testing.T) {
	const hole = 1 << 20
	for name, pieces := range map[string][]string{
		"nothing":          nil,
		"data":             {"data"},
		"a hole":           {""},
		"a hole, data":     {"", "data"},
		"data, hole":       {"data", ""},
		"data, hole, data": {"data", "", "more", "", "", "end"},
	} {
		t.Run(name, func(t *testing.T) {
			// Each piece is a MiB long, and empty pieces are holes.
			dir := t.TempDir()
			src, err := os.Create(filepath.Join(dir, "src"))
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			if err := src.Truncate(int64(len(pieces)) * hole); err != nil {
				t.Fatal(err)
			}
			for i, piece := range pieces {
				if _, err := src.WriteAt([]byte(piece), int64(i)*hole); err != nil {
					t.Fatal(err)
				}
			}
			dst, err := os.Create(filepath.Join(dir, "dst"))
			if err != nil {
				t.Fatal(err)
			}
			defer dst.Close()
			if err := copySparse(t.Context(), dst, src); err != nil {
				t.Fatal(err)
			}
			want, _ := os.ReadFile(src.Name())
			got, _ := os.ReadFile(dst.Name())
			if !bytes.Equal(want, got) {
				t.Errorf("the copy of %d bytes differs in its %d bytes", len(want), len(got))
			}
			var a, b unix.Stat_t
			if err := errors.Join(unix.Fstat(int(src.Fd()), &a), unix.Fstat(int(dst.Fd()), &b)); err != nil {
				t.Fatal(err)
			}
			if b.Blocks > a.Blocks {
				t.Errorf("the copy has %d blocks, the original %d", b.Blocks, a.Blocks)
			}
		})
	}
}

func TestSweep(t *testing.T) {
	b := &Builder{CacheDir: t.TempDir()}
	write(t, filepath.Join(b.CacheDir, "building-123/root/etc/passwd"), "root")
	write(t, filepath.Join(b.CacheDir, "base-0123456789abcdef/base.json"), "{}")
	if err := b.sweep(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(b.CacheDir, "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "base-0123456789abcdef" {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	first, err := lockDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	go func() {
		lock, err := lockDir(t.Context(), dir)
		if err == nil {
			lock.Close()
		}
		second <- err
	}()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lockDir(ended, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("a lock that is taken: %v, want that the context ended", err)
	}
	select {
	case err := <-second:
		t.Fatalf("the lock was taken twice (%v)", err)
	default:
	}
	first.Close()
	if err := <-second; err != nil {
		t.Errorf("the lock was not to be had when it was free: %v", err)
	}
}

func TestRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may make namespaces")
	}
	newLog := func(t *testing.T) *os.File {
		log, err := os.Create(filepath.Join(t.TempDir(), logFile))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { log.Close() })
		return log
	}
	t.Run("says how a command failed", func(t *testing.T) {
		log := newLog(t)
		if err := run(t.Context(), log, "echo", "an earlier command"); err != nil {
			t.Fatal(err)
		}
		err := run(t.Context(), log, "sh", "-c", `seq 100; echo "no space left" >&2; exit 3`)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 3 {
			t.Fatalf("the error is %v, want exit status 3", err)
		}
		if msg := err.Error(); !strings.HasSuffix(msg, "\n100\nno space left") || strings.Contains(msg, "earlier") || strings.Contains(msg, "\n50\n") {
			t.Errorf("the error is %q", msg)
		}
	})
	t.Run("leaves no mount", func(t *testing.T) {
		dir := t.TempDir()
		if err := run(t.Context(), newLog(t), "sh", "-c", `mount -t tmpfs none "$1" && echo >"$1/file"`, "sh", dir); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("left are %v, %v", left, err)
		}
	})
	t.Run("leaves no process", func(t *testing.T) {
		// The pipe has a writer as long as a process of the command lives.
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		log := newLog(t)
		go func() { done <- run(ctx, log, "sh", "-c", `exec >"$1"; setsid sleep 1000 & echo up; wait`, "sh", fifo) }()
		r, err := os.Open(fifo) // waits for the writer
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := io.ReadFull(r, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v, want that the context ended", err)
		}
		if _, err := r.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("reading the pipe: %v, want its end", err)
		}
	})
}
