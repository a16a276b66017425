package image

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tempPattern is the name of what is being built, and of what a builder that
// was killed has left.
const tempPattern = "building-*"

// build makes the base in a temporary directory and then renames it to dir. The
// caller holds the lock.
func (b *Builder) build(ctx context.Context, key, dir string) error {
	if err := b.sweep(); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(b.CacheDir, tempPattern)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { // apt downloads as a user of its own
		return err
	}
	log, err := os.Create(filepath.Join(b.CacheDir, logFile))
	if err != nil {
		return err
	}
	defer log.Close()
	start := time.Now()

	b.progress("Debian packages")
	root, out := filepath.Join(tmp, "root"), filepath.Join(tmp, "out")
	if err := writeRecipe(filepath.Join(tmp, "recipe")); err != nil {
		return err
	}
	if err := debootstrap(ctx, root, filepath.Join(tmp, "recipe", "customize"), log); err != nil {
		return err
	}

	b.progress("kernel")
	base := &Base{Key: key, dir: filepath.Join(tmp, "base")}
	if err := os.Mkdir(base.dir, 0o755); err != nil {
		return err
	}
	if err := base.addKernel(root, out); err != nil {
		return err
	}

	b.progress("file system")
	if err := makeDisk(ctx, filepath.Join(base.dir, diskFile), root, key, log); err != nil {
		return err
	}
	if err := base.commit(dir); err != nil {
		return err
	}
	b.Log.Info("built the base image", slog.String("dir", dir), slog.String("kernel", base.Kernel),
		slog.Int("packages", len(base.Packages)), slog.Duration("took", time.Since(start)))
	return nil
}

// sweep removes what builders that were killed have left.
func (b *Builder) sweep() error {
	left, err := filepath.Glob(filepath.Join(b.CacheDir, tempPattern))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

func (b *Builder) progress(stage string) {
	if b.Progress != nil {
		b.Progress(stage)
	}
}

// addKernel puts the kernel, its drivers and the list of packages into the
// base. out is where the recipe's script has left them.
func (base *Base) addKernel(root, out string) error {
	version, err := os.ReadFile(filepath.Join(out, "version"))
	if err != nil {
		return err
	}
	base.Kernel = strings.TrimSpace(string(version))
	packages, err := os.ReadFile(filepath.Join(out, "packages"))
	if err != nil {
		return err
	}
	base.Packages = strings.Split(strings.TrimSpace(string(packages)), "\n")

	bzImage, err := os.ReadFile(filepath.Join(out, "vmlinuz"))
	if err != nil {
		return err
	}
	kernel, err := vmlinux(bzImage)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(base.dir, kernelFile), kernel, 0o644); err != nil {
		return err
	}
	archive, err := driverArchive(filepath.Join(root, "usr/lib/modules", base.Kernel))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(base.dir, driversFile), archive, 0o644)
}

// commit makes the finished base durable and gives it its name.
func (base *Base) commit(dir string) error {
	data, err := json.MarshalIndent(base, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(base.dir, baseFile), data, 0o644); err != nil {
		return err
	}
	for _, name := range []string{diskFile, kernelFile, driversFile, baseFile, "."} {
		if err := syncFile(filepath.Join(base.dir, name)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil { // what is left of one that was being removed
		return err
	}
	if err := os.Rename(base.dir, dir); err != nil {
		return err
	}
	base.dir = dir
	return syncFile(filepath.Dir(dir))
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
