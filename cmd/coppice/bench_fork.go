package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coppice-vm/coppice"
)

const (
	atOnce = 16 // forks of one call, in the figures of many
	depth  = 8  // generations of the chain
)

// dirtyMiB is what the parents of the pauses have changed of their memory.
var dirtyMiB = []int{5, 50, 200, 500}

func benchFork(ctx context.Context, b *bench, rounds int) error {
	for _, mib := range dirtyMiB {
		if err := b.pauses(ctx, mib, rounds); err != nil {
			return err
		}
	}
	if err := b.forkMany(ctx, rounds); err != nil {
		return err
	}
	if err := b.forkChain(ctx, rounds); err != nil {
		return err
	}
	b.note("the guest's view of a pause is the longest gap in a loop that reads its monotonic clock during the fork; it has the host's scheduling in it")
	return b.baseline(ctx, func(r *rival) error { return r.forks(ctx, dirtyMiB, rounds) })
}

// pauses forks a VM that has changed so much of its memory.
func (b *bench) pauses(ctx context.Context, mib, rounds int) error {
	parent, err := b.create(ctx)
	if err != nil {
		return err
	}
	defer b.delete(parent)
	if err := b.run(ctx, parent, dirty(mib)); err != nil {
		return err
	}
	for i := range 1 + rounds {
		b.step.Note("fork with %d MB dirty, %s", mib, ofRounds(i, rounds))
		b.warmingUp = i == 0
		name := fmt.Sprintf("%d MB dirty: ", mib)
		log := b.log.end()
		if err := b.forkOnce(ctx, parent, name); err != nil {
			return err
		}
		if pauses, err := b.log.pauses(log, parent); err != nil {
			return err
		} else if len(pauses) > 0 {
			b.record(name+"parent paused (daemon's log)", pauses[len(pauses)-1])
		}
		gap, err := b.longestGap(ctx, parent, func() error {
			children, err := b.fork(ctx, parent, 1)
			return errors.Join(err, b.delete(children...))
		})
		if err != nil {
			return err
		}
		b.record(name+"parent paused (guest's view)", gap)
	}
	return nil
}

// forkOnce measures a fork up to the child's first answer.
func (b *bench) forkOnce(ctx context.Context, parent, name string) (err error) {
	start := time.Now()
	children, err := b.fork(ctx, parent, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.delete(children...)) }()
	b.add(name+"fork answered", start)
	if err := b.true(ctx, children[0]); err != nil {
		return err
	}
	b.add(name+"fork to first exec", start)
	return nil
}

// forkMany measures forks of many children, which then all answer, and what
// they take of the pool.
func (b *bench) forkMany(ctx context.Context, rounds int) error {
	parent, err := b.create(ctx)
	if err != nil {
		return err
	}
	defer b.delete(parent)
	if err := b.true(ctx, parent); err != nil {
		return err
	}
	for i := range 1 + rounds {
		b.step.Note("%d children at once, %s", atOnce, ofRounds(i, rounds))
		b.warmingUp = i == 0
		before := b.poolUsed()
		start := time.Now()
		children, err := b.fork(ctx, parent, atOnce)
		if err != nil {
			return err
		}
		b.add(fmt.Sprintf("%d children: fork answered", atOnce), start)
		if err := b.allTrue(ctx, children); err != nil {
			return err
		}
		b.add(fmt.Sprintf("%d children: fork to all answered", atOnce), start)
		b.diskPerChild(before, len(children))
		if err := b.delete(children...); err != nil {
			return err
		}
	}
	return nil
}

// forkChain measures forks of a VM that was created, and of one that has as
// many ancestors as make its child the last of the chain.
func (b *bench) forkChain(ctx context.Context, rounds int) error {
	first, err := b.create(ctx)
	if err != nil {
		return err
	}
	chain := []string{first}
	defer func() { b.delete(chain...) }()
	for len(chain) < depth {
		b.step.Note("a chain of forks, %d of %d", len(chain), depth)
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
	for i := range 1 + rounds {
		b.step.Note("depth 1 and %d, %s", depth, ofRounds(i, rounds))
		b.warmingUp = i == 0
		// In turns, so that both see the same host.
		err := errors.Join(
			b.forkOnce(ctx, first, "depth 1: "),
			b.forkOnce(ctx, chain[depth-1], fmt.Sprintf("depth %d: ", depth)))
		if err != nil {
			return err
		}
	}
	return nil
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

// gapWatch looks at the clock until it is told to stop, and then says what the
// longest time between two looks was, in ns. Its first line says that it has begun.
const gapWatch = `python3 -uc '
import signal, time
stop = False
def end(*_):
    global stop
    stop = True
signal.signal(signal.SIGTERM, end)
print("watching")
longest, last = 0, time.monotonic_ns()
while not stop:
    now = time.monotonic_ns()
    longest, last = max(longest, now - last), now
print(longest)' & read _; kill $!; wait $!`

// longestGap returns the longest time for which a guest stood still during do.
func (b *bench) longestGap(ctx context.Context, id string, do func() error) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stdin, stop := io.Pipe()
	out, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := b.client.Exec(ctx, id, coppice.ExecSpec{Command: gapWatch}, coppice.Stdio{Stdin: stdin, Stdout: stdout})
		stdin.CloseWithError(io.ErrClosedPipe)
		stdout.CloseWithError(err)
		ended <- err
	}()
	defer func() {
		cancel()
		out.Close()
		<-ended
	}()
	var first [len("watching\n")]byte
	if _, err := io.ReadFull(out, first[:]); err != nil {
		return 0, fmt.Errorf("watch the guest's clock: %w", err)
	}
	if err := do(); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(stop, "\n"); err != nil {
		return 0, fmt.Errorf("watch the guest's clock: %w", err)
	}
	said, err := io.ReadAll(out)
	if err != nil {
		return 0, fmt.Errorf("watch the guest's clock: %w", err)
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(string(said)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("watch the guest's clock: %w", err)
	}
	return time.Duration(ns), nil
}
