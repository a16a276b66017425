// Package mountinfo reads what is mounted where, as proc_pid_mountinfo(5) has it.
package mountinfo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Mount is a file system, or a part of one, that has a place.
type Mount struct {
	Place
	Point string // where it is mounted, as seen from the root of who was asked
	Type  string // of the file system
}

// A Place is a file or directory by where it is in its file system, which is the
// same in every mount namespace. Of a file that was removed it is where that was.
type Place struct {
	Device string // the file system, as "major:minor"
	Path   string // from the root of the file system
}

// Self returns the mounts that this process sees, the oldest first.
func Self() ([]Mount, error) { return read("/proc/self/mountinfo") }

// Of returns the mounts that a process sees. Its main thread may have ended, as
// long as another goes on.
func Of(pid int) ([]Mount, error) {
	mounts, err := read(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err == nil {
		return mounts, nil
	}
	threads, globErr := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/mountinfo", pid))
	for _, thread := range threads {
		if mounts, err := read(thread); err == nil {
			return mounts, nil
		}
	}
	return nil, errors.Join(err, globErr)
}

func read(name string) (mounts []Mount, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		// Before the dash there are optional fields, after it the type.
		head, tail, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(head), strings.Fields(tail)
		if len(fields) < 5 || len(kind) == 0 {
			return nil, fmt.Errorf("%s has a line that is no mount: %q", name, line)
		}
		mounts = append(mounts, Mount{
			Place: Place{fields[2], strings.TrimSuffix(unescape.Replace(fields[3]), "//deleted")},
			Point: unescape.Replace(fields[4]), Type: kind[0],
		})
	}
	return mounts, nil
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Locate returns the place of what this process knows by a name; it need not be there.
func Locate(name string) (Place, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return Place{}, err
	}
	if resolved, err := filepath.EvalSymlinks(name); err == nil {
		name = resolved
	}
	mounts, err := Self()
	if err != nil {
		return Place{}, err
	}
	var found Mount
	for _, m := range mounts { // of two at the same point the later one is seen
		if _, below := Below(m.Point, name); below && len(m.Point) >= len(found.Point) {
			found = m
		}
	}
	rest, below := Below(found.Point, name)
	if !below {
		return Place{}, fmt.Errorf("nothing is mounted where %s is", name)
	}
	return Place{found.Device, filepath.Join(found.Path, rest)}, nil
}

// Below returns the path of name from dir, if it is that or below it. Both are
// absolute and clean.
func Below(dir, name string) (rest string, ok bool) {
	if dir == "/" || dir == name {
		return strings.TrimPrefix(name, dir), dir != ""
	}
	return strings.CutPrefix(name, dir+"/")
}
