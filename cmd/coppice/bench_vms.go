package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

const (
	mebi = 1 << 20
	// aheadDeadline is how long a daemon may take to make ahead what was taken.
	aheadDeadline = time.Minute
)

// create makes a VM, and waits until the daemon has done what it does after that.
func (b *bench) create(ctx context.Context, spec api.VMSpec) (string, error) {
	id, err := b.createNow(ctx, spec)
	if err != nil {
		return "", err
	}
	return id, b.ready(ctx)
}

// createNow makes a VM that lives until it is deleted, or the benchmark ends.
func (b *bench) createNow(ctx context.Context, spec api.VMSpec) (string, error) {
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	spec.Name, spec.IdleTimeoutSeconds = new("bench"), never
	// Ctrl-C waits for the answer, or nobody would know what to delete.
	vm, err := b.client.Create(context.WithoutCancel(ctx), api.CreateVM{VMSpec: spec})
	if err != nil {
		return "", err
	}
	b.made = append(b.made, vm.ID)
	return vm.ID, nil
}

// fork makes children, which live as long as a VM of create does. It fails if
// one of them did.
func (b *bench) fork(ctx context.Context, parent string, count int) ([]string, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	forked, err := b.client.Fork(context.WithoutCancel(ctx), parent, api.ForkVM{Count: &count})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, f := range forked.Forks {
		ids = append(ids, f.ID)
	}
	b.made = append(b.made, ids...)
	for _, e := range forked.Errors {
		err = errors.Join(err, coppice.Errorf(coppice.Code(e.Code), "%s", e.Message))
	}
	return ids, err
}

// delete deletes VMs, also after Ctrl-C. What cannot be deleted, [bench.clear]
// tries again.
func (b *bench) delete(ids ...string) (err error) {
	for _, id := range slices.Backward(ids) {
		if _, e := b.client.Delete(context.Background(), id); e != nil {
			err = errors.Join(err, e)
			continue
		}
		b.made = slices.DeleteFunc(b.made, func(made string) bool { return made == id })
	}
	return err
}

// clear deletes what is left of what create and fork made.
func (b *bench) clear() error { return b.delete(slices.Clone(b.made)...) }

// true runs /bin/true in a VM.
func (b *bench) true(ctx context.Context, id string) error { return b.run(ctx, id, "/bin/true") }

// run runs a command that has to succeed.
func (b *bench) run(ctx context.Context, id, command string) error {
	result, err := b.client.ExecAwait(ctx, id, coppice.ExecSpec{Command: command})
	if err == nil && result.StatusCode != 0 {
		err = fmt.Errorf("%.40q ended with status %d: %s", command, result.StatusCode, strings.TrimSpace(result.Stderr))
	}
	return err
}

// poolUsed returns how many bytes of the pool's file system are taken, with
// what was only in memory written out. 0 if it is not of this machine.
func (b *bench) poolUsed() int64 {
	var fs unix.Statfs_t
	fd, err := unix.Open(b.dir.Pool(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil || !b.local {
		return 0
	}
	defer unix.Close(fd)
	if unix.Syncfs(fd) != nil || unix.Fstatfs(fd, &fs) != nil {
		return 0
	}
	return int64(fs.Blocks-fs.Bfree) * fs.Bsize
}

// diskPerChild records what the pool has grown by since it was before.
func (b *bench) diskPerChild(before int64, children int) {
	if after := b.poolUsed(); before > 0 && after > 0 {
		b.recordMiB("disk per child", float64(after-before)/mebi/float64(children))
	}
}

// ready waits until the daemon has made ahead all that it is to have.
func (b *bench) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, aheadDeadline)
	defer cancel()
	for {
		h, err := b.client.Host(ctx)
		if err != nil {
			return err
		}
		if h.Spares >= h.SparesWanted && h.Husks >= h.HusksWanted {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("the daemon has %d of %d spares and %d of %d husks: %w", h.Spares, h.SparesWanted, h.Husks, h.HusksWanted, err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
