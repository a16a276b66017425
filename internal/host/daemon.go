package host

import (
	"context"
	"errors"
)

// Start starts the command line args as the daemon that serves the directory,
// as a systemd service where systemd runs the machine, and returns when it is
// ready. It calls status with what the daemon says that it is doing. If the
// daemon ends before, the error has the last of what it printed.
func (d Dir) Start(ctx context.Context, args []string, status func(string)) error {
	if booted() {
		return d.unit().start(ctx, d, args)
	}
	return background(ctx, d.Log(), args, status)
}

// Stop asks the daemon that serves the directory to end, ends it if it has not
// when ctx ends, and returns when it is gone. killed says that it had to be. It
// does nothing if there is no daemon.
func (d Dir) Stop(ctx context.Context) (killed bool, err error) {
	if booted() {
		if err := d.unit().stop(ctx); err != nil {
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
