package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountPoint returns where image is mounted, empty if it is not. It asks the
// kernel and not the mount, which may be of a file system that has shut down.
func mountPoint(image string) (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line) // see proc_pid_mountinfo(5)
		if len(fields) < 5 {
			continue
		}
		dev, err := loopDevice(fields[2])
		if err != nil {
			return "", err
		}
		if ours, err := isBackedBy(dev, image); ours || err != nil {
			return mountEscape.Replace(fields[4]), err
		}
	}
	return "", nil
}

// mountEscape undoes the escapes of mountinfo.
var mountEscape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// loopUnder returns the loop device, as "loop0", that the file system of name
// is on, empty if it is on another kind of device.
func loopUnder(name string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return "", &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return loopDevice(fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
}

// loopDevice returns the loop device of a number as "7:0", empty if that is
// another kind of device or none at all.
func loopDevice(number string) (string, error) {
	sys, err := filepath.EvalSymlinks(filepath.Join("/sys/dev/block", number))
	if err != nil {
		return "", ignoreMissing(err)
	}
	if _, err := os.Stat(filepath.Join(sys, "loop")); err != nil {
		return "", ignoreMissing(err)
	}
	return filepath.Base(sys), nil
}

// backingFile returns the file that is behind a loop device.
func backingFile(dev string) (string, error) {
	b, err := os.ReadFile(filepath.Join("/sys/block", dev, "loop/backing_file"))
	return strings.TrimSuffix(string(b), "\n"), err
}

// isBackedBy reports whether a loop device has image behind it. None has.
func isBackedBy(dev, image string) (bool, error) {
	if dev == "" {
		return false, nil
	}
	file, err := backingFile(dev)
	if err != nil {
		return false, ignoreMissing(err)
	}
	a, err := os.Stat(file)
	if err != nil {
		return false, ignoreMissing(err)
	}
	b, err := os.Stat(image)
	return err == nil && os.SameFile(a, b), ignoreMissing(err)
}

// directIO makes a loop device go past the page cache.
func directIO(dev string) error {
	f, err := os.OpenFile(filepath.Join("/dev", dev), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlSetInt(int(f.Fd()), unix.LOOP_SET_DIRECT_IO, 1), f.Close())
}

// devicesOf returns the loop devices that have image behind them.
func devicesOf(image string) (devices []string, err error) {
	all, err := filepath.Glob("/sys/block/loop*/loop")
	if err != nil {
		return nil, err
	}
	for _, sys := range all {
		dev := filepath.Base(filepath.Dir(sys))
		ours, err := isBackedBy(dev, image)
		if err != nil {
			return nil, err
		}
		if ours {
			devices = append(devices, dev)
		}
	}
	return devices, nil
}

// detach frees the loop devices that have image behind them. A mount's frees
// itself; one that was set up by hand, or whose mount failed, may not.
func detach(image string) error {
	devices, err := devicesOf(image)
	for _, dev := range devices {
		err = errors.Join(err, freeLoop(dev))
	}
	return err
}

// freeLoop takes the file from behind a loop device, once nothing is mounted from it.
func freeLoop(dev string) error {
	f, err := os.Open(filepath.Join("/dev", dev))
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
	if err != nil && !errors.Is(err, unix.ENXIO) { // ENXIO: it has freed itself by now
		return fmt.Errorf("detach %s: %w", dev, err)
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
