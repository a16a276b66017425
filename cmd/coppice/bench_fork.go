package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

const (
	atOnce   = 16 // forks of one call, in the figures of many
	depth    = 8  // generations of the chain
	largeGiB = 8. // memory of the VM that is large
)

// dirtyMiB is what the parents of the pauses have changed of their memory.
var dirtyMiB = []int{5, 50, 200, 500}

func benchFork(ctx context.Context, b *bench, rounds int) error {
	for _, mib := range dirtyMiB {
		if err := b.pauses(ctx, mib, rounds); err != nil {
			return err
		}
	}
	switch err := b.forkLarge(ctx, rounds); {
	case coppice.CodeOf(err) == coppice.CodeNoMemory:
		b.note("a VM of %v GiB and its fork have no room in this host's memory", largeGiB)
	case err != nil:
		return err
	}
	if err := b.forkMany(ctx, rounds); err != nil {
		return err
	}
	if err := b.forkChain(ctx, rounds); err != nil {
		return err
	}
	b.note("paused and running are the daemon's phases of the fork (docs/METRICS.md); the rest is what its client waits")
	return b.beside(ctx, func(r *rival) error { return r.forks(ctx, dirtyMiB, rounds) })
}

// pauses forks a VM that has changed so much of its memory.
func (b *bench) pauses(ctx context.Context, mib, rounds int) error {
	parent, err := b.create(ctx, api.VMSpec{})
	if err != nil {
		return err
	}
	defer b.delete(parent)
	if err := b.run(ctx, parent, dirty(mib)); err != nil {
		return err
	}
	return b.repeat(ctx, rounds, fmt.Sprintf("fork with %d MB dirty", mib), func() error {
		took, err := b.forkOnce(ctx, parent)
		if err != nil {
			return err
		}
		b.recordFork(dirtyName(mib), took, b.record)
		return nil
	})
}

// dirtyName is how the names begin of figures of a fork with so much dirty memory.
func dirtyName(mib int) string { return fmt.Sprintf("%d MB dirty: ", mib) }

// forkLarge measures the pause of a VM that has much memory, and has used little of it.
func (b *bench) forkLarge(ctx context.Context, rounds int) error {
	b.step.Note("a VM of %v GiB, which boots if it is the first", largeGiB)
	parent, err := b.create(ctx, api.VMSpec{MemSizeGb: new(largeGiB)})
	if err != nil {
		return err
	}
	defer b.delete(parent)
	return b.repeat(ctx, rounds, fmt.Sprintf("fork of a VM of %v GiB", largeGiB), func() error {
		took, err := b.forkOnce(ctx, parent)
		if err != nil {
			return err
		}
		b.record(fmt.Sprintf("idle, %v GiB: parent paused", largeGiB), took.paused)
		return nil
	})
}

// forkMany measures forks of many children, which then all answer.
func (b *bench) forkMany(ctx context.Context, rounds int) error {
	parent, err := b.create(ctx, api.VMSpec{})
	if err != nil {
		return err
	}
	defer b.delete(parent)
	if err := b.true(ctx, parent); err != nil {
		return err
	}
	name := fmt.Sprintf("%d children: ", atOnce)
	return b.repeat(ctx, rounds, fmt.Sprintf("%d children at once", atOnce), func() error {
		if err := b.ready(ctx); err != nil {
			return err
		}
		var start time.Time
		var answered time.Duration
		var children []string
		took, err := b.phases(ctx, func() (err error) {
			start = time.Now()
			children, err = b.fork(ctx, parent, atOnce)
			answered = time.Since(start)
			return err
		})
		if err != nil {
			return err
		}
		b.record(name+"parent paused", took[pause])
		b.record(name+"fork answered", answered)
		if err := b.allTrue(ctx, children); err != nil {
			return err
		}
		b.add(name+"fork to all have answered", start)
		return b.delete(children...)
	})
}

// forkChain measures forks of a VM that has so many ancestors that its child is
// the last of a chain, and, to compare with, of one that was created.
func (b *bench) forkChain(ctx context.Context, rounds int) error {
	first, err := b.create(ctx, api.VMSpec{})
	if err != nil {
		return err
	}
	chain := []string{first}
	defer func() { b.delete(chain...) }()
	for len(chain) < depth {
		b.step.Detail("a chain of forks, %d of %d", len(chain), depth)
		last := chain[len(chain)-1]
		if err := b.true(ctx, last); err != nil {
			return err
		}
		children, err := b.fork(ctx, last, 1)
		if err != nil {
			return err
		}
		chain = append(chain, children...)
	}
	return b.repeat(ctx, rounds, fmt.Sprintf("%d generations", depth), func() error {
		// In turns, so that both see the same host.
		short, err := b.forkOnce(ctx, first)
		if err != nil {
			return err
		}
		long, err := b.forkOnce(ctx, chain[depth-1])
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%d generations: ", depth)
		b.recordFork(name, long, b.record)
		b.recordFork(name, short, b.recordBaseline)
		return nil
	})
}

// A forkTime is how long a fork took until its parent went on, the child ran,
// the call was answered, and the child had answered a command.
type forkTime struct{ paused, running, answered, exec time.Duration }

// pause is the phase of a fork in which the parent stands still.
var pause = phase{coppice.Cut, "pause"}

// forkOnce forks a VM, has the child answer, and deletes it.
func (b *bench) forkOnce(ctx context.Context, parent string) (t forkTime, err error) {
	if err := b.ready(ctx); err != nil {
		return t, err
	}
	var children []string
	took, err := b.phases(ctx, func() (err error) {
		start := time.Now()
		children, err = b.fork(ctx, parent, 1)
		t.answered = time.Since(start)
		if err != nil {
			return err
		}
		err = b.true(ctx, children[0])
		t.exec = time.Since(start)
		return err
	})
	t.paused, t.running = took[pause], took[phase{coppice.Cut, "capture"}]+took.toRunning(coppice.Restore)
	return t, errors.Join(err, b.delete(children...))
}

func (b *bench) recordFork(name string, t forkTime, record func(string, time.Duration)) {
	record(name+"parent paused", t.paused)
	record(name+"fork to running", t.running)
	record(name+"fork answered", t.answered)
	record(name+"fork to first exec", t.exec)
}

// allTrue runs /bin/true in VMs at once.
func (b *bench) allTrue(ctx context.Context, ids []string) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, id := range ids {
		all.Go(func() error { return b.true(ctx, id) })
	}
	return all.Wait()
}

// dirty returns a command that changes so much of a guest's memory, for as long
// as the guest runs, to what neither is zero nor the same in two pages.
func dirty(mib int) string {
	return fmt.Sprintf(`mount -o remount,size=100%% /dev/shm && python3 -c '
import os
mib = os.urandom(1 << 20)
with open("/dev/shm/bench", "wb") as f:
    for _ in range(%d): f.write(mib)'`, mib)
}
