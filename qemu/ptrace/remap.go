package ptrace

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// A Remapper replaces what one process has mapped.
type Remapper struct {
	pid  int
	code code
}

// NewRemapper looks for what it takes in a process, and leaves it as it is.
func NewRemapper(pid int) (*Remapper, error) {
	found, _, err := survey(pid)
	if err != nil {
		return nil, fmt.Errorf("prepare process %d for other mappings: %w", pid, err)
	}
	return &Remapper{pid, found}, nil
}

// Map maps a file, by the process's own descriptor fd, in place of what is
// mapped at area: privately, to be read and written, from the file's beginning.
// If the caller is killed meanwhile the process is of no use any more.
func (r *Remapper) Map(area Area, fd int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t, err := attach(r.pid, r.code)
	if err == nil {
		_, err = t.call(unix.SYS_MMAP, area.Start, area.End-area.Start, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE, uint64(fd), 0)
		err = errors.Join(err, t.detach())
	}
	if err != nil {
		return fmt.Errorf("map a file in process %d: %w", r.pid, err)
	}
	return nil
}
