package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/internal/progress"
	"github.com/coppice-vm/coppice/traces"
)

const (
	readyDeadline = 10 * time.Minute // a daemon may have to build its image
	leaveDeadline = time.Minute      // more than it gives what it is doing
)

func (m *Main) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Be the daemon, until told to end; the VMs then run on",
		Args:  cobra.NoArgs,
		RunE: m.then(func(ctx context.Context, _ []string) (err error) {
			m.daemon, err = openDaemon(ctx, m.config, m.config.logger(m.Stderr))
			if err != nil {
				return err
			}
			return host.Notify("READY=1")
		}),
	}
	m.config.bind(cmd.Flags(), m.Getenv)
	return cmd
}

// startDaemon makes a daemon of this program, this configuration and this image
// run, and replaces one of another.
func (m *Main) startDaemon(ctx context.Context, image coppice.ImageID, step *progress.Step) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	dir, args := m.config.dir(), m.config.args()
	if err := dir.Make(); err != nil {
		return err
	}
	switch old, err := dir.Daemon(); {
	case errors.Is(err, host.ErrNoDaemon):
	case err != nil:
		return err
	case m.current(old, exe, args, image):
		step.Result("runs already, process %d", old.PID)
		return nil
	default:
		step.Note("stopping the one of another build or configuration")
		if err := m.stopDaemon(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readyDeadline)
	defer cancel()
	err = dir.Start(ctx, append([]string{exe}, args...), func(doing string) { step.Note("%s", doing) })
	if err != nil {
		return fmt.Errorf("it did not start: %w", err)
	}
	p, err := dir.Daemon()
	if err != nil {
		return err
	}
	step.Result("process %d, log in %s", p.PID, dir.Log())
	return nil
}

// current reports whether a daemon is what startDaemon would start.
func (m *Main) current(p host.Process, exe string, args []string, image coppice.ImageID) bool {
	same, err := p.Runs(exe)
	traced, unknown := p.Inherited(traces.Variables)
	has, noImage := m.config.dir().Image()
	return errors.Join(err, unknown, noImage) == nil && same && traced && slices.Equal(p.Args, args) && has == image
}

// stopDaemon stops the daemon, if there is one. One that does not end when it
// is asked is killed: what it was doing, the next one settles.
func (m *Main) stopDaemon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveDeadline)
	defer cancel()
	killed, err := m.config.dir().Stop(ctx)
	if err != nil {
		return fmt.Errorf("stop the daemon: %w", err)
	}
	if killed {
		fmt.Fprintf(m.Stderr, "coppice: the daemon did not end within %s and was killed; its log is %s\n",
			leaveDeadline, m.config.dir().Log())
	}
	return nil
}

func (m *Main) downCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the daemon; the VMs run on",
		Args:  cobra.NoArgs,
		RunE: m.then(func(ctx context.Context, _ []string) error {
			_, err := m.config.dir().Daemon()
			if errors.Is(err, host.ErrNoDaemon) {
				fmt.Fprintf(m.Stdout, "no daemon serves %s\n", m.config.data)
				return nil
			}
			if err := m.stopDaemon(ctx); err != nil {
				return err
			}
			fmt.Fprintln(m.Stdout, "the daemon has stopped; VMs that run go on until it is back (coppice up)")
			return nil
		}),
	}
}

// release is the version that the build was told to be of; see scripts/version.
var release string

// version is the release, or the commit this program was built from.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
