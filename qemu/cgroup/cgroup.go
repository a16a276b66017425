// Package cgroup bounds what a process may take of the host, by control groups
// of either version, as far as the host has them.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// root is where control groups are.
const root = "/sys/fs/cgroup"

// period is what CPU time is shared out in.
const periodMicros = 100_000

// Limits are what a group may have.
type Limits struct {
	CPUs        int // as many as that may be busy all the time
	MemoryBytes int64
	Tasks       int // threads
	// IOBytes are how many may be read and how many written, in a second, of the
	// disk that the file Device is on; 0 is no limit.
	IOBytes int64
	Device  string
}

// Controllers are the names of what can be limited, in version 2's words.
var Controllers = []string{"cpu", "memory", "pids", "io"}

// A Host is where groups can be made.
type Host struct {
	parents     []string
	controllers []string
}

// Find returns where groups can be made for what a process starts, so that the
// process's own limits hold for them too: below its own groups of version 1, and
// beside that of version 2, which cannot hold processes and groups at once.
func Find(pid int) (*Host, error) {
	groups, err := os.Open(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	defer groups.Close()
	h := &Host{}
	lines := bufio.NewScanner(groups)
	for lines.Scan() {
		parts := strings.SplitN(lines.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if names, path := parts[1], parts[2]; names == "" {
			h.findV2(path)
		} else {
			h.findV1(strings.Split(names, ","), path)
		}
	}
	return h, lines.Err()
}

func (h *Host) findV1(names []string, path string) {
	for _, name := range names {
		controller := name
		if name == "blkio" {
			controller = "io"
		}
		dir := filepath.Join(root, name, path)
		mounted := exists(filepath.Join(dir, "tasks")) // the directory alone may be there in any case
		if slices.Contains(Controllers, controller) && mounted {
			h.parents, h.controllers = append(h.parents, dir), append(h.controllers, controller)
		}
	}
}

// findV2 finds out which controllers there are for groups beside path.
func (h *Host) findV2(path string) {
	for _, mount := range []string{root, filepath.Join(root, "unified")} {
		dir := filepath.Join(mount, filepath.Dir(path))
		control := filepath.Join(dir, "cgroup.subtree_control")
		if !exists(control) {
			continue
		}
		for _, name := range Controllers { // one by one, since any may be missing
			os.WriteFile(control, []byte("+"+name), 0)
		}
		enabled, _ := os.ReadFile(control)
		found := slices.DeleteFunc(strings.Fields(string(enabled)), func(name string) bool { return !slices.Contains(Controllers, name) })
		if len(found) > 0 {
			h.parents, h.controllers = append(h.parents, dir), append(h.controllers, found...)
		}
		return
	}
}

// Has reports whether a controller is there.
func (h *Host) Has(controller string) bool { return slices.Contains(h.controllers, controller) }

// Dirs returns the directories of the group with a name.
func (h *Host) Dirs(name string) (dirs []string) {
	for _, parent := range h.parents {
		dirs = append(dirs, filepath.Join(parent, name))
	}
	return dirs
}

// Make makes a group of its directories. One that is left from before, and is
// empty, is made anew. If it fails nothing is left of it.
func Make(dirs []string, l Limits) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, Remove(dirs))
		}
	}()
	for _, dir := range dirs {
		err := os.Mkdir(dir, 0o755)
		if errors.Is(err, fs.ErrExist) && unix.Rmdir(dir) == nil {
			err = os.Mkdir(dir, 0o755)
		}
		if err != nil {
			return err
		}
	}
	return Set(dirs, l)
}

// Set sets the limits of a group that is there, in place of those it has. One
// that cannot be set does not cost the others.
func Set(dirs []string, l Limits) error {
	files, err := l.files()
	errs := []error{err}
	for _, dir := range dirs {
		for name, value := range files {
			name = filepath.Join(dir, name)
			if !exists(name) { // of another controller, or the other version
				continue
			}
			if err := os.WriteFile(name, []byte(value), 0); err != nil && !l.unthrottled(err) {
				errs = append(errs, fmt.Errorf("limit to %s: %w", value, err))
			}
		}
	}
	return errors.Join(errs...)
}

// unthrottled reports whether an error is only that a disk, which is not to be
// limited, cannot be.
func (l Limits) unthrottled(err error) bool { return l.IOBytes == 0 && errors.Is(err, unix.ENODEV) }

// files returns what to write to which files, of either version; without those
// of the disk if it cannot be found out.
func (l Limits) files() (map[string]string, error) {
	quota := fmt.Sprint(l.CPUs * periodMicros)
	memory := fmt.Sprint(l.MemoryBytes)
	files := map[string]string{
		"cpu.cfs_quota_us": quota, "cpu.max": fmt.Sprintf("%s %d", quota, periodMicros),
		"memory.limit_in_bytes": memory, "memory.max": memory,
		"pids.max": fmt.Sprint(l.Tasks),
	}
	device, err := blockDevice(l.Device)
	if err != nil || device == "" {
		return files, err
	}
	rate := fmt.Sprintf("%s %d", device, l.IOBytes)
	files["blkio.throttle.read_bps_device"] = rate
	files["blkio.throttle.write_bps_device"] = rate
	files["io.max"] = device + " rbps=max wbps=max"
	if l.IOBytes > 0 {
		files["io.max"] = fmt.Sprintf("%s rbps=%d wbps=%[2]d", device, l.IOBytes)
	}
	return files, nil
}

// blockDevice returns the number of the disk that a file is on, or nothing where
// the file system does not say.
func blockDevice(name string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: name, Err: err}
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	sys, err := filepath.EvalSymlinks("/sys/dev/block/" + number)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if exists(filepath.Join(sys, "partition")) { // limits are a disk's
		b, err := os.ReadFile(filepath.Join(filepath.Dir(sys), "dev"))
		return strings.TrimSpace(string(b)), err
	}
	return number, nil
}

// Join moves the calling thread, and what it starts, into those of a group's
// directories that are of version 1. A program has to be started in the one of
// version 2, which is returned; nil if there is none.
func Join(dirs []string) (v2 *os.File, err error) {
	for _, dir := range dirs {
		tasks := filepath.Join(dir, "tasks")
		if exists(tasks) {
			err = os.WriteFile(tasks, []byte("0"), 0)
		} else {
			v2, err = os.Open(dir)
		}
		if err != nil {
			return nil, err
		}
	}
	return v2, nil
}

// Remove removes the directories of a group whose last process has ended; nil if
// they are not there. A thread that has joined it to start something may still be
// on its way out.
func Remove(dirs []string) error {
	const patience = time.Second
	began := time.Now()
	var errs []error
	for _, dir := range dirs {
		err := unix.Rmdir(dir)
		for err == unix.EBUSY && time.Since(began) < patience {
			time.Sleep(time.Millisecond)
			err = unix.Rmdir(dir)
		}
		if err != nil && err != unix.ENOENT {
			errs = append(errs, &os.PathError{Op: "remove", Path: dir, Err: err})
		}
	}
	return errors.Join(errs...)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
