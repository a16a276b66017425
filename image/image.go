// Package image builds the base image: a Debian root disk, the kernel that
// boots it, and an initrd with the guest agent.
//
// The directory recipe says all of it: the packages, the files laid over them,
// and the scripts that do the rest. What is built of a recipe is kept in a
// cache and built once. The agent comes last: [Base.Install] adds it to the
// initrd, which takes no time.
package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/coppice-vm/coppice"
)

// Cmdline is the kernel's command line on any machine; an accelerator may need
// more. The console, which is kept in a file, shows what the kernel has to
// notice and what init does. A panic resets the machine. Security modules that
// have no policy, self-tests and watchdogs are off: they only cost.
const Cmdline = "console=ttyS0 TERM=dumb loglevel=6 panic=-1 reboot=t net.ifnames=0 " +
	"lsm=landlock,yama,bpf audit=0 nowatchdog cryptomgr.notests " +
	"random.trust_cpu=on 8250.nr_uarts=1 rcupdate.rcu_expedited=1 noreplace-smp"

// Names of the files in the directory of a [Base], and of an installed image.
const (
	diskFile   = "disk.raw"
	kernelFile = "vmlinux"
	initrdFile = "initrd"

	driversFile = "drivers.cpio"
	baseFile    = "base.json"
	logFile     = "build.log"
)

// A Builder makes the base image.
type Builder struct {
	// CacheDir keeps what was built. It may be removed when nobody builds; it
	// is made if it is not there.
	CacheDir string
	// Progress is told what is being made, in a few words. May be nil.
	Progress func(stage string)
	Log      *slog.Logger
}

// A Base is a built base image: everything a VM boots from but the agent.
type Base struct {
	// Key identifies the recipe.
	Key string
	// Kernel is the version of the guest's kernel, as uname -r says it.
	Kernel string
	// Packages are the guest's packages, each "name version".
	Packages []string

	dir string
}

// Build returns the base image, from the cache if it is there: then it is as old
// as the cache, and takes no time. Builders of the same cache wait for each
// other; what one that was killed has left is removed by the next. To build
// takes a minute or two, root, and the commands of the Debian packages
// mmdebstrap and e2fsprogs.
func (b *Builder) Build(ctx context.Context) (*Base, error) {
	key, err := recipeKey()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.CacheDir, "base-"+key)
	if base, err := openBase(dir); !errors.Is(err, fs.ErrNotExist) {
		return base, err
	}
	if err := os.MkdirAll(b.CacheDir, 0o755); err != nil {
		return nil, err
	}
	lock, err := lockDir(ctx, b.CacheDir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	// Another may have built it while we waited for the lock.
	if base, err := openBase(dir); !errors.Is(err, fs.ErrNotExist) {
		return base, err
	}
	if err := b.build(ctx, key, dir); err != nil {
		return nil, err
	}
	return openBase(dir)
}

// openBase returns the base in dir. An error is [fs.ErrNotExist] if there is none.
func openBase(dir string) (*Base, error) {
	data, err := os.ReadFile(filepath.Join(dir, baseFile))
	if err != nil {
		return nil, err
	}
	base := &Base{dir: dir}
	if err := json.Unmarshal(data, base); err != nil {
		return nil, fmt.Errorf("read the base image %s: %w", dir, err)
	}
	return base, nil
}

// ID returns the id of the image that [Base.Install] makes with this agent.
// It depends on the recipe, the versions of all packages, and the agent.
func (base *Base) ID(agent []byte) coppice.ImageID {
	h := sha256.New()
	fmt.Fprintln(h, base.Key, base.Kernel)
	for _, p := range base.Packages {
		fmt.Fprintln(h, p)
	}
	h.Write(agent)
	return coppice.ImageID("debian-12-" + hex.EncodeToString(h.Sum(nil))[:16])
}

// Install writes the image's files into the empty directory dir, and returns
// the image with names relative to dir. The disk is sparse, and shares blocks
// with the cache's where it can. Nothing is made durable.
func (base *Base) Install(ctx context.Context, agent []byte, dir string) (coppice.Image, error) {
	drivers, err := os.ReadFile(filepath.Join(base.dir, driversFile))
	if err != nil {
		return coppice.Image{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, initrdFile), initrd(agent, drivers), 0o644); err != nil {
		return coppice.Image{}, err
	}
	for _, name := range []string{kernelFile, diskFile} {
		if err := copyFile(ctx, filepath.Join(dir, name), filepath.Join(base.dir, name)); err != nil {
			return coppice.Image{}, err
		}
	}
	return coppice.Image{
		ID:      base.ID(agent),
		Disk:    diskFile,
		DiskMiB: diskMiB,
		Kernel:  kernelFile,
		Initrd:  initrdFile,
		Cmdline: Cmdline,
	}, nil
}
