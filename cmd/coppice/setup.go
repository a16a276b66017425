package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/image"
	"github.com/coppice-vm/coppice/internal/progress"
)

var errRoot = errors.New("be root: this mounts a file system and runs VMs")

func (m *Main) prepareCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Do only what up does first: install packages, build the base image",
		Args:  cobra.NoArgs,
		RunE: m.then(func(ctx context.Context, _ []string) error {
			_, err := m.prepare(ctx, progress.New(m.Stderr))
			return err
		}),
	}
	m.config.bind(cmd.Flags(), m.Getenv, "cache")
	return cmd
}

// prepare installs what is missing of the host's packages and builds the base
// image into the cache. It returns the id that the image has with this
// program's agent in it.
func (m *Main) prepare(ctx context.Context, steps *progress.Steps) (id coppice.ImageID, err error) {
	if os.Geteuid() != 0 {
		return "", errRoot
	}
	err = steps.Do("packages", func(step *progress.Step) error { return installPackages(ctx, step) })
	if err != nil {
		return "", err
	}
	err = steps.Do("base image", func(step *progress.Step) (err error) {
		id, err = m.buildImage(ctx, step)
		return err
	})
	return id, err
}

func (m *Main) buildImage(ctx context.Context, step *progress.Step) (coppice.ImageID, error) {
	agent, err := agentBinary()
	if err != nil {
		return "", err
	}
	builder := image.Builder{
		CacheDir: m.config.cache,
		Progress: func(stage string) { step.Note("%s", stage) },
		Log:      slog.New(slog.DiscardHandler), // the step says it all
	}
	base, err := builder.Build(ctx)
	if err != nil {
		return "", err
	}
	id := base.ID(agent)
	step.Result("%s, Linux %s", id, base.Kernel)
	return id, nil
}
