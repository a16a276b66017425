package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// benchCreate measures creates that find a VM restored ahead.
func benchCreate(ctx context.Context, b *bench, rounds int) error {
	return b.repeat(ctx, rounds, "create", func() error { return b.createOnce(ctx) })
}

func (b *bench) createOnce(ctx context.Context) (err error) {
	if err := b.ready(ctx); err != nil {
		return err
	}
	start := time.Now()
	id, err := b.createNow(ctx, api.VMSpec{})
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

func benchBoot(ctx context.Context, b *bench, rounds int) error {
	id, err := b.create(ctx, api.VMSpec{})
	if err != nil {
		return err
	}
	return b.repeat(ctx, rounds, "boot", func() error {
		start := time.Now()
		if _, err := b.client.Stop(ctx, id); err != nil {
			return err
		}
		b.add("stop answered", start)
		start = time.Now()
		if _, err := b.client.Start(ctx, id, api.StartVM{}); err != nil {
			return err
		}
		b.add("start answered", start)
		if err := b.true(ctx, id); err != nil {
			return err
		}
		b.add("start to first exec", start)
		return nil
	})
}

func benchExec(ctx context.Context, b *bench, rounds int) error {
	id, err := b.create(ctx, api.VMSpec{})
	if err != nil {
		return err
	}
	return b.repeat(ctx, rounds, "/bin/true", func() error {
		start := time.Now()
		if err := b.true(ctx, id); err != nil {
			return err
		}
		b.add("exec /bin/true", start)
		return nil
	})
}

func benchSuspend(ctx context.Context, b *bench, rounds int) error {
	id, err := b.create(ctx, api.VMSpec{})
	if err != nil {
		return err
	}
	if err := b.repeat(ctx, rounds, "suspend and resume", func() error { return b.suspendOnce(ctx, id) }); err != nil {
		return err
	}
	return b.beside(ctx, func(r *rival) error { return r.suspends(ctx, rounds) })
}

// suspendOnce measures a suspend and a resume, up to the first answer.
func (b *bench) suspendOnce(ctx context.Context, id string) error {
	if err := b.true(ctx, id); err != nil {
		return err
	}
	start := time.Now()
	if _, err := b.client.Suspend(ctx, id); err != nil {
		return err
	}
	b.add("suspend answered", start)
	took, err := b.phases(ctx, func() error {
		start = time.Now()
		_, err := b.client.Start(ctx, id, api.StartVM{})
		b.add("resume answered", start)
		return err
	})
	if err != nil {
		return err
	}
	b.record("resume to running", took.toRunning(coppice.Resume))
	if err := b.true(ctx, id); err != nil {
		return err
	}
	b.add("resume to first exec", start)
	return nil
}

// work is something that a child does: it starts an interpreter, and keeps it busy.
const work = `python3 -c 'print(sum(i * i for i in range(100000)))'`

// benchDensity measures what children take of the host, as many as there are
// rounds, once they have been left alone.
func benchDensity(ctx context.Context, b *bench, children int) error {
	if !b.local {
		return errors.New("the daemon is on another machine, whose memory cannot be seen from here")
	}
	parent, err := b.create(ctx, api.VMSpec{})
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
	settle := time.Minute
	if b.quick {
		settle = time.Second
	}
	b.step.Note("leaving them alone for %v", settle)
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	b.diskPerChild(before, children)
	if err := b.memoryPerChild("memory (PSS) per idle child", ids); err != nil {
		return err
	}
	b.step.Note("letting each work")
	for _, id := range ids {
		if err := b.run(ctx, id, work); err != nil {
			return err
		}
	}
	b.note("disk: what the pool has grown by for each, with its part of the capture; idle: %v after the fork; worked: right after a run of python3 in each, one after the other", settle)
	return b.memoryPerChild("memory (PSS) per child that has worked", ids)
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
