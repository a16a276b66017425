package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/fallocate"
)

const (
	// How much is kept of a VM's console and of what QEMU says.
	consoleBytes = 1 << 20
	qemuLogBytes = 64 << 10
	// trimInterval is how often the logs of a run are trimmed. What is printed
	// in between, or while no daemon runs, comes on top.
	trimInterval = 10 * time.Second
)

// Console implements [coppice.Consoles]: it returns the last MiB. Each run is
// introduced by a line of ours that names its instance.
func (h *Hypervisor) Console(ctx context.Context, id coppice.VMID) ([]byte, error) {
	dir, err := h.dir(id)
	if err != nil {
		return nil, err
	}
	b, err := tail(dir.console(), consoleBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// RemoveConsole implements [coppice.Consoles].
func (h *Hypervisor) RemoveConsole(ctx context.Context, id coppice.VMID) error {
	dir, err := h.dir(id)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(string(dir)); err != nil {
		return err
	}
	h.users.drop(dir)
	return nil
}

// runLine is the line that introduces a run on the console.
func runLine(id coppice.InstanceID) string { return fmt.Sprintf("--- run %s", id) }

// beginConsole introduces a run.
func (d runDir) beginConsole(m coppice.Machine) error {
	f, err := os.OpenFile(d.console(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	how := "boots"
	if m.Boot == nil {
		how = "continues a capture"
	}
	_, err = fmt.Fprintf(f, "\n%s %s at %s ---\n", runLine(m.Instance), how, time.Now().UTC().Format(time.RFC3339))
	return errors.Join(err, f.Close(), trim(d.console(), consoleBytes))
}

// trim gives back the space of all but the end of a log. The file keeps its
// length, so that a QEMU that is appending to it is not disturbed and nothing
// is lost in between: its beginning becomes a hole.
func trim(log string, keep int64) error {
	f, err := os.OpenFile(log, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	old := info.Size() - keep
	if old <= 0 {
		return nil
	}
	err = fallocate.Punch(int(f.Fd()), 0, old)
	if err != nil {
		return &os.PathError{Op: "punch", Path: log, Err: err}
	}
	return nil
}

// tail returns the last n bytes of a file.
func tail(name string, n int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	start := max(0, info.Size()-n)
	return io.ReadAll(io.NewSectionReader(f, start, info.Size()-start))
}
