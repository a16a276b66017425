package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/coppice-vm/coppice/image"
)

// benchImage measures builds of the base image, where none is cached. The daemon
// has no part in it.
func benchImage(ctx context.Context, b *bench, rounds int) error {
	for range rounds { // no warm-up: it is long, and what it takes is the network's
		if err := b.buildImage(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) buildImage(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("/var/tmp", "coppice-bench-") // it is large
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // apt downloads as a user of its own
		return err
	}
	builder := image.Builder{
		CacheDir: dir,
		Progress: func(stage string) { b.step.Note("%s", stage) },
		Log:      slog.New(slog.DiscardHandler),
	}
	start := time.Now()
	if _, err := builder.Build(ctx); err != nil {
		return err
	}
	b.add("image built", start)
	return nil
}
