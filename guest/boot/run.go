package boot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// prepareRun mounts the /run of root, and puts into it what init is to find there.
func prepareRun(root string) error {
	err := unix.Mount("tmpfs", filepath.Join(root, "run"), "tmpfs",
		unix.MS_NOSUID|unix.MS_NODEV|unix.MS_STRICTATIME, "mode=755,size=20%,nr_inodes=800k")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, noLogin), []byte("The system is booting up.\n"), 0o644); err != nil {
		return err
	}
	return maskGenerators(root)
}

// inputs names the files without which a generator of systemd has nothing to do.
var inputs = map[string]string{
	"systemd-cryptsetup-generator":     "etc/crypttab",
	"systemd-fstab-generator":          "etc/fstab",
	"systemd-integritysetup-generator": "etc/integritytab",
	"systemd-rc-local-generator":       "etc/rc.local",
	"systemd-system-update-generator":  "system-update",
	"systemd-veritysetup-generator":    "etc/veritytab",
}

// maskGenerators has systemd skip generators that would generate nothing: to
// run them all costs an emulated guest a second. When the system is up, the
// image's coppice-late.service takes the masks off.
func maskGenerators(root string) error {
	dir := filepath.Join(root, "run/systemd/system-generators")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mask := func(name string) error { return os.Symlink("/dev/null", filepath.Join(dir, name)) }
	for name, input := range inputs {
		if _, err := os.Lstat(filepath.Join(root, input)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := mask(name); err != nil {
			return err
		}
	}
	if scripts, err := onlyScripts(root); err != nil || scripts {
		return err
	}
	return mask("systemd-sysv-generator")
}

// onlyScripts reports whether root has a script of System V's kind for a
// service that has no unit of systemd's.
func onlyScripts(root string) (bool, error) {
	scripts, err := filepath.Glob(filepath.Join(root, "etc/init.d/*"))
	if err != nil {
		return false, err
	}
	for _, script := range scripts {
		unit := strings.TrimSuffix(filepath.Base(script), ".sh") + ".service"
		if !exists(root, "etc/systemd/system", unit) && !exists(root, "lib/systemd/system", unit) {
			return true, nil
		}
	}
	return false, nil
}

func exists(elem ...string) bool {
	_, err := os.Lstat(filepath.Join(elem...))
	return err == nil
}
