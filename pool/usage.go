package pool

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Usage is what a pool has of the host's storage.
type Usage struct {
	// TotalBytes is the size of the pool's file system.
	TotalBytes int64
	// FreeBytes can still be written. On a loop mount that is what both file
	// systems have, the one inside the image and the one around it.
	FreeBytes int64
}

// Usage measures the pool's file system.
func (p *Pool) Usage(ctx context.Context) (Usage, error) {
	u, err := usage(p.root)
	return u, failure("measure", err)
}

func usage(dir string) (Usage, error) {
	u, err := statfs(dir)
	if err != nil {
		return u, err
	}
	dev, err := loopUnder(dir)
	if err != nil || dev == "" {
		return u, err
	}
	image, err := backingFile(dev)
	if err != nil {
		return u, err
	}
	around, err := statfs(image)
	if err != nil {
		return u, ignoreMissing(err) // out of sight, as in a container
	}
	u.FreeBytes = min(u.FreeBytes, around.FreeBytes)
	return u, nil
}

// statfs measures the file system that name is on.
func statfs(name string) (Usage, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(name, &fs); err != nil {
		return Usage{}, fmt.Errorf("statfs %s: %w", name, err)
	}
	return Usage{TotalBytes: int64(fs.Blocks) * fs.Bsize, FreeBytes: int64(fs.Bavail) * fs.Bsize}, nil
}
