package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// forks measures what pauses does, QEMU's own way.
func (r *rival) forks(ctx context.Context, dirtyMiB []int, rounds int) error {
	vm, err := r.booted(ctx)
	if err != nil {
		return err
	}
	defer vm.end()
	for _, mib := range dirtyMiB {
		if err := vm.run(ctx, dirty(mib)); err != nil { // replaces what was dirty before
			return err
		}
		err := r.bench.repeat(ctx, rounds, fmt.Sprintf("baseline: fork with %d MB dirty", mib), func() error {
			return r.forkOnce(ctx, vm, dirtyName(mib))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *rival) forkOnce(ctx context.Context, parent *rivalVM, name string) (err error) {
	memory, disk := filepath.Join(r.dir, "fork-memory"), filepath.Join(r.dir, "fork-disk")
	defer func() { err = errors.Join(err, os.RemoveAll(memory), os.RemoveAll(disk)) }()
	start := time.Now()
	if err := parent.migrate(ctx, memory); err != nil {
		return err
	}
	if err := copyDisk(ctx, disk, parent.disk); err != nil {
		return err
	}
	if err := parent.qmp.Do(ctx, "cont", nil, nil); err != nil {
		return err
	}
	r.bench.recordBaseline(name+"parent paused", time.Since(start))
	return r.resume(ctx, disk, memory, start, name+"fork")
}

// suspends measures what benchSuspend does, QEMU's own way. The disk would stay
// where it is, so copying it does not count: here the VM goes on once another
// one has resumed in its place.
func (r *rival) suspends(ctx context.Context, rounds int) error {
	vm, err := r.booted(ctx)
	if err != nil {
		return err
	}
	defer vm.end()
	memory := filepath.Join(r.dir, "memory")
	return r.bench.repeat(ctx, rounds, "baseline: suspend and resume", func() error {
		start := time.Now()
		if err := vm.migrate(ctx, memory); err != nil {
			return err
		}
		r.bench.recordBaseline("suspend answered", time.Since(start))
		disk := filepath.Join(r.dir, "resumed-disk")
		if err := copyDisk(ctx, disk, vm.disk); err != nil {
			return err
		}
		err := r.resume(ctx, disk, memory, time.Now(), "resume")
		return errors.Join(err, os.Remove(disk), os.Remove(memory), vm.qmp.Do(ctx, "cont", nil, nil))
	})
}

// resume goes on from files of memory and disk, up to the first answer.
func (r *rival) resume(ctx context.Context, disk, memory string, start time.Time, name string) error {
	ctx, cancel := context.WithTimeout(ctx, rivalPatience)
	defer cancel()
	vm, err := r.incoming(ctx, disk, memory)
	if err != nil {
		return err
	}
	defer vm.end()
	r.bench.recordBaseline(name+" to running", time.Since(start))
	if err := vm.greet(ctx); err != nil {
		return err
	}
	if err := vm.run(ctx, "/bin/true"); err != nil {
		return err
	}
	r.bench.recordBaseline(name+" to first exec", time.Since(start))
	return nil
}
