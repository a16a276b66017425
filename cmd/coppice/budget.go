package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/lifecycle"
	"github.com/coppice-vm/coppice/pool"
)

// budget returns what of the host VMs may have, as configured.
func (c *config) budget() (lifecycle.Budget, error) {
	memory, memoryErr := parseMiB(c.memoryReserve)
	overcommit, overcommitErr := strconv.ParseInt(c.memoryOvercommit, 10, 64)
	storage, storageErr := parseMiB(c.storageReserve)
	return lifecycle.Budget{
		MemoryReserveMiB: memory, MemoryOvercommit: overcommit, StorageReserveMiB: storage,
	}, errors.Join(memoryErr, overcommitErr, storageErr)
}

// eviction returns when VMs are evicted, as configured.
func (c *config) eviction() (lifecycle.Eviction, error) {
	below, belowErr := parseMiB(c.evictBelow)
	until, untilErr := parseMiB(c.evictUntil)
	err := errors.Join(belowErr, untilErr)
	if err == nil && until < below {
		err = fmt.Errorf("--evict-until %s is less than --evict-below %s: evicting would end before it begins", c.evictUntil, c.evictBelow)
	}
	return lifecycle.Eviction{BelowMiB: below, UntilMiB: until}, err
}

// A gauge is the [coppice.Gauge] of this machine and a pool on it.
type gauge struct {
	storage func(context.Context) (pool.Usage, error)
}

func (g gauge) Capacity(ctx context.Context) (coppice.Capacity, error) {
	if err := ctx.Err(); err != nil {
		return coppice.Capacity{}, err
	}
	usage, err := g.storage(ctx)
	all, available := memoryOfHost()
	if available == 0 {
		err = errors.Join(err, errors.New("/proc/meminfo does not say how much memory is available"))
	}
	return coppice.Capacity{
		MemoryMiB: all, FreeMemoryMiB: available,
		StorageMiB: usage.TotalBytes >> 20, FreeStorageMiB: usage.FreeBytes >> 20,
	}, err
}

// memoryOfHost returns this machine's memory and how much of it is available
// without swapping, in MiB.
func memoryOfHost() (all, available int64) {
	total, _ := procField("/proc/meminfo", "MemTotal")
	free, _ := procField("/proc/meminfo", "MemAvailable")
	return kib(total) >> 10, kib(free) >> 10
}

// findBudget says what is left of the host for VMs that start, by the rule of
// the daemon that runs. The VMs made ahead count as well.
func (m *Main) findBudget() finding {
	f := finding{Name: "memory"}
	daemon, err := m.config.dir().Daemon()
	if err != nil {
		f.Broken, f.Text, f.Fix = true, "nothing is given out: no daemon runs", fixUp
		return f
	}
	told, err := toldTo(daemon)
	if err != nil {
		f.Broken, f.Text = true, err.Error()
		return f
	}
	budget, err := told.budget()
	if err != nil {
		f.Broken, f.Text = true, err.Error()
		return f
	}
	vms, promised := guestMemory(m.config.dir())
	all, available := memoryOfHost()
	left := max(0, budget.Left(coppice.Capacity{FreeMemoryMiB: available}, promised))
	const typical = 1024 // MiB
	more := left / budget.Need(typical)
	f.Text = fmt.Sprintf("%s, of which %s are available; %s are kept for the host, and for %d VMs that have %s in sum one part in %d to grow into; %s are left: for %d more VMs of %s",
		mib(all), mib(available), told.memoryReserve, vms, mib(promised), budget.MemoryOvercommit, mib(left), more, mib(typical))
	if more == 0 {
		f.Fix = "stop or suspend VMs, or promise more (--memory-overcommit, --memory-reserve)"
	}
	return f
}

// toldTo returns how a daemon was configured.
func toldTo(daemon host.Process) (config, error) {
	var told config
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	var names []string
	for _, s := range told.settings() {
		names = append(names, s.flag)
	}
	told.bind(flags, func(string) string { return "" }, names...)
	flags.ParseErrorsAllowlist.UnknownFlags = true // of another build's
	return told, flags.Parse(daemon.Args)
}

// guestMemory returns how many processes run or await VMs of a data directory,
// and how much memory their guests have in sum, in MiB.
func guestMemory(dir host.Dir) (vms int, sum int64) {
	for _, pid := range vmProcesses(dir) {
		cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(cmdline), "\x00")
		for i := range len(args) - 1 {
			if args[i] == "-m" {
				n, _ := strconv.ParseInt(strings.TrimSuffix(args[i+1], "M"), 10, 64)
				vms, sum = vms+1, sum+n
			}
		}
	}
	return vms, sum
}
