package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coppice-vm/coppice/api"
)

// benchCreate measures creates that find a VM restored ahead: it leaves the
// daemon the time refill before each to restore the next.
func benchCreate(refill time.Duration) measurement {
	return func(ctx context.Context, b *bench, rounds int) error {
		for i := range 1 + rounds {
			b.step.Note("create, %s", ofRounds(i, rounds))
			b.warmingUp = i == 0
			if err := sleep(ctx, refill); err != nil {
				return err
			}
			if err := b.createOnce(ctx); err != nil {
				return err
			}
		}
		b.note("%v between creates, in which the daemon restores a VM ahead", refill)
		return nil
	}
}

func (b *bench) createOnce(ctx context.Context) (err error) {
	start := time.Now()
	id, err := b.create(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.delete(id)) }()
	b.add("create answered", start)
	if err := b.true(ctx, id); err != nil {
		return err
	}
	b.add("create to first exec", start)
	return nil
}

func benchSuspend(ctx context.Context, b *bench, rounds int) error {
	id, err := b.create(ctx)
	if err != nil {
		return err
	}
	for i := range 1 + rounds {
		b.step.Note("suspend and resume, %s", ofRounds(i, rounds))
		b.warmingUp = i == 0
		if err := b.true(ctx, id); err != nil {
			return err
		}
		start := time.Now()
		if _, err := b.client.Suspend(ctx, id); err != nil {
			return err
		}
		b.add("suspend answered", start)
		start = time.Now()
		if _, err := b.client.Start(ctx, id, api.StartVM{}); err != nil {
			return err
		}
		b.add("resume answered", start)
		if err := b.true(ctx, id); err != nil {
			return err
		}
		b.add("resume to first exec", start)
	}
	return b.baseline(ctx, func(r *rival) error { return r.suspends(ctx, rounds) })
}

// work is something that a child does: it starts an interpreter, and keeps it busy.
const work = `python3 -c 'print(sum(i * i for i in range(100000)))'`

// benchDensity measures what children take of the host, as many as there are
// rounds, once they have been left alone for so long.
func benchDensity(settle time.Duration) measurement {
	return func(ctx context.Context, b *bench, children int) error {
		if !b.local {
			return errors.New("the daemon is on another machine, whose memory cannot be seen from here")
		}
		parent, err := b.create(ctx)
		if err != nil {
			return err
		}
		if err := b.true(ctx, parent); err != nil {
			return err
		}
		b.step.Note("%d children", children)
		before := b.poolUsed()
		var ids []string
		for len(ids) < children {
			more, err := b.fork(ctx, parent, min(children-len(ids), atOnce))
			if err != nil {
				return err
			}
			ids = append(ids, more...)
		}
		b.step.Note("leaving them alone for %v", settle)
		if err := sleep(ctx, settle); err != nil {
			return err
		}
		b.diskPerChild(before, children)
		if err := b.memoryPerChild("host memory (PSS) per idle child", ids); err != nil {
			return err
		}
		b.step.Note("letting each work")
		for _, id := range ids {
			if err := b.run(ctx, id, work); err != nil {
				return err
			}
		}
		b.note("idle: %v after the fork; worked: right after a run of python3 in each, one after the other", settle)
		return b.memoryPerChild("host memory (PSS) per child that has worked", ids)
	}
}

// memoryPerChild records what the process of each VM takes of this machine.
func (b *bench) memoryPerChild(name string, ids []string) error {
	pids := vmProcesses(b.dir)
	for _, id := range ids {
		pss, ok := procField(fmt.Sprintf("/proc/%d/smaps_rollup", pids[id]), "Pss")
		if !ok {
			return fmt.Errorf("cannot see the memory of VM %s", id)
		}
		b.recordMiB(name, float64(kib(pss))/1024)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
