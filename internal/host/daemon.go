package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
)

// Start starts the command line args as the daemon that serves the directory,
// as a systemd service where systemd runs the machine, and returns when it is
// ready. It calls status with what the daemon says that it is doing. If the
// daemon ends before, the error has the last of what it printed.
func (d Dir) Start(ctx context.Context, args []string, status func(string)) error {
	start, err := rotate(d.Log())
	if err != nil {
		return err
	}
	if booted() {
		err = d.unit().start(ctx, d, args)
	} else {
		err = background(ctx, d.Log(), args, status)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(d.Log(), start))
	}
	return nil
}

// Stop asks the daemon that serves the directory to end, ends it if it has not
// when ctx ends, and returns when it is gone. killed says that it had to be. It
// does nothing if there is no daemon.
func (d Dir) Stop(ctx context.Context) (killed bool, err error) {
	if booted() {
		if err := d.unit().stop(ctx); err != nil && ctx.Err() == nil {
			return false, err
		}
	}
	p, err := d.Daemon()
	if errors.Is(err, ErrNoDaemon) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return p.Stop(ctx)
}

// Uninstall removes what Start left outside the directory, after a Stop.
func (d Dir) Uninstall(ctx context.Context) error {
	if booted() {
		return d.unit().remove(ctx)
	}
	return nil
}

// rotate moves a log that has grown large aside, replacing the one moved before.
// It returns how much there is of the log that stays.
func rotate(log string) (size int64, err error) {
	const large = 16 << 20
	info, err := os.Stat(log)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, err
	case info.Size() < large:
		return info.Size(), nil
	}
	return 0, os.Rename(log, log+".1")
}

// tail returns the last lines of what was written to a log from offset start on.
func tail(log string, start int64) string {
	const lines = 10
	b, err := os.ReadFile(log)
	if err != nil || int64(len(b)) < start {
		return ""
	}
	all := bytes.Split(bytes.TrimSpace(b[start:]), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
