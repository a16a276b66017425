package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coppice-vm/coppice/api"
)

// benchRestart measures the daemon of a host that has VMs.
func benchRestart(ctx context.Context, b *bench, rounds int) error {
	if !b.local {
		return errors.New("the daemon is on another machine, where it cannot be restarted from here")
	}
	vms := 20
	if b.quick {
		vms = 2
	}
	b.note("with %d VMs that run, all forks of one", vms)
	b.step.Note("making %d VMs", vms)
	first, err := b.create(ctx, api.VMSpec{})
	if err != nil {
		return err
	}
	if _, err := b.fork(ctx, first, vms-1); err != nil {
		return err
	}
	return b.repeat(ctx, rounds, fmt.Sprintf("the daemon of %d VMs", vms), func() error {
		if err := b.ready(ctx); err != nil {
			return err
		}
		start := time.Now()
		if _, err := b.client.Audit(ctx); err != nil {
			return err
		}
		b.add("audit", start)
		return b.restart(ctx)
	})
}

// restart has the daemon followed by another one that is the same. Ctrl-C does
// not cut it short: the host would be without a daemon.
func (b *bench) restart(ctx context.Context) error {
	daemon, err := b.dir.Daemon()
	if err != nil {
		return err
	}
	rss, ok := procField(fmt.Sprintf("/proc/%d/status", daemon.PID), "VmRSS")
	if !ok {
		return fmt.Errorf("cannot see the memory of the daemon, process %d", daemon.PID)
	}
	b.recordMiB("daemon's memory (RSS)", float64(kib(rss))/1024)

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveDeadline)
	defer cancel()
	if _, err := b.dir.Stop(ctx); err != nil {
		return err
	}
	start := time.Now()
	if err := b.dir.Start(ctx, append([]string{daemon.Exe}, daemon.Args...), func(string) {}); err != nil {
		return err
	}
	if _, err := b.client.Health(ctx); err != nil {
		return err
	}
	b.add("daemon ended to API answers", start)
	return nil
}
