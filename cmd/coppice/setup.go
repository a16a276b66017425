package main

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/image"
	"github.com/coppice-vm/coppice/internal/progress"
)

// images is where base images are built and kept.
func (c *config) images() string { return filepath.Join(c.cache, "images") }

// buildImage builds the base image that the daemon will find in the cache. It
// returns the id that the image has with this program's agent in it.
func (m *Main) buildImage(ctx context.Context, step *progress.Step) (coppice.ImageID, error) {
	agent, err := agentBinary()
	if err != nil {
		return "", err
	}
	builder := image.Builder{
		CacheDir: m.config.images(),
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
