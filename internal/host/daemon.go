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

// Stop asks the daemon that serves the directory to end, and returns when it
// has. nil if there is none.
func (d Dir) Stop(ctx context.Context) error {
	if booted() {
		if err := d.unit().stop(ctx); err != nil {
			return err
		}
	}
	p, err := d.Daemon()
	if errors.Is(err, ErrNoDaemon) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.Stop(ctx)
}

// Uninstall stops the daemon and removes what Start left outside the directory.
func (d Dir) Uninstall(ctx context.Context) error {
	if err := d.Stop(ctx); err != nil {
		return err
	}
	if booted() {
		return d.unit().remove(ctx)
	}
	return nil
}
