package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/access"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/sqlite"
)

func (m *Main) limitsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "limits",
		Short: "Show what the account may have at a time, and what it has",
		Args:  cobra.NoArgs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			limits, err := c.Limits(ctx)
			if err != nil {
				return err
			}
			return m.print(limits, func(w *tabwriter.Writer) { describeLimits(w, limits) })
		}),
	}
	cmd.AddCommand(m.setLimitsCommand())
	return cmd
}

// describeLimits writes limits, a line each.
func describeLimits(w *tabwriter.Writer, l api.Limits) {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	line := func(what, has string, limit *int64, write func(int64) string) {
		may := "none"
		if limit != nil {
			may = write(*limit)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", what, has, may)
	}
	may, has := l.Limits, l.Usage
	fmt.Fprintln(w, "WHAT\tTHERE IS\tLIMIT")
	line("VMs", number(has.VMs), may.VMs, number)
	line("VMs that run", number(has.RunningVMs), may.RunningVMs, number)
	line("their vCPUs", number(has.VCPUCount), may.VCPUCount, number)
	line("their memory", mib(has.MemSizeMiB), may.MemSizeMiB, mib)
	line("disks of all VMs", mib(has.RootfsSizeMB), may.RootfsSizeMB, mib)
	line("snapshots", number(has.Snapshots), may.Snapshots, number)
	line("vCPUs of a VM", "", may.VCPUCountPerVM, number)
	line("memory of a VM", "", may.MemSizeMiBPerVM, mib)
	line("disk of a VM", "", may.RootfsSizePerVM, mib)
	line("terminal sessions in a VM", "", may.PTYsPerVM, number)
}

func (m *Main) setLimitsCommand() *cobra.Command {
	var account string
	limits := map[string]*limitFlag{}
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Change what an account of this machine may have, from now on",
		Long: `Change what an account of this machine may have, from now on. A limit that is not
named stays as it is; "none" is no limit. What is there already stays, also if it
is more. The limits are in the data directory of this machine's daemon, which may
run meanwhile and holds to them at once: only who may write there can change them.`,
		Args: cobra.NoArgs,
		RunE: m.then(func(ctx context.Context, _ []string) error {
			return m.setLimits(ctx, coppice.AccountID(account), limits)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&account, "account", string(access.HostAccount), "id of the account, as coppice account list says it")
	for _, l := range limitFlags {
		limits[l.name] = &limitFlag{size: l.size}
		flags.Var(limits[l.name], l.name, l.usage)
	}
	return cmd
}

// limitFlags are the flags of limits, and where in limits they go.
var limitFlags = []struct {
	name  string
	size  bool // in MiB, written as people write sizes
	usage string
	set   func(*coppice.Limits, int64)
}{
	{"vms", false, "VMs, in whatever state", func(l *coppice.Limits, n int64) { l.VMs = int(n) }},
	{"running", false, "VMs that run at a time", func(l *coppice.Limits, n int64) { l.Running = int(n) }},
	{"cpu", false, "vCPUs of the VMs that run", func(l *coppice.Limits, n int64) { l.Sum.VCPUs = int(n) }},
	{"memory", true, "memory of the VMs that run: 64G", func(l *coppice.Limits, n int64) { l.Sum.MemoryMiB = n }},
	{"storage", true, "disks of all VMs: 2T", func(l *coppice.Limits, n int64) { l.Sum.DiskMiB = n }},
	{"vm-cpu", false, "vCPUs of a single VM", func(l *coppice.Limits, n int64) { l.Each.VCPUs = int(n) }},
	{"vm-memory", true, "memory of a single VM: 16G", func(l *coppice.Limits, n int64) { l.Each.MemoryMiB = n }},
	{"vm-storage", true, "disk of a single VM: 100G", func(l *coppice.Limits, n int64) { l.Each.DiskMiB = n }},
	{"snapshots", false, "snapshots", func(l *coppice.Limits, n int64) { l.Snapshots = int(n) }},
	{"vm-terminals", false, "terminal sessions in a single VM", func(l *coppice.Limits, n int64) { l.PTYs = int(n) }},
}

// setLimits changes limits in the database, which a daemon may have open too.
func (m *Main) setLimits(ctx context.Context, account coppice.AccountID, changes map[string]*limitFlag) error {
	file := m.config.dir().Database()
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("limits are changed on the machine of the daemon, by its data directory (--data): %w", err)
	}
	db, err := sqlite.Open(ctx, file)
	if err != nil {
		return err
	}
	defer db.Close()
	limits, err := db.Limits(ctx, account)
	if err != nil {
		return err
	}
	changed := false
	for _, l := range limitFlags {
		if change := changes[l.name]; change.given {
			l.set(&limits, change.value)
			changed = true
		}
	}
	if !changed {
		return errors.New("name the limits to change, as in --running 20 (coppice limits set --help)")
	}
	return db.SetLimits(ctx, account, limits)
}

// A limitFlag is a number, a size or "none".
type limitFlag struct {
	size  bool
	given bool
	value int64 // a size in MiB
}

func (f *limitFlag) Type() string { return "limit" }

func (f *limitFlag) String() string { return "" }

func (f *limitFlag) Set(s string) error {
	f.given = true
	if s == "none" {
		f.value = coppice.NoLimit
		return nil
	}
	if f.size {
		var err error
		if f.value, err = parseMiB(s); err != nil {
			return fmt.Errorf("%w, or none", err)
		}
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return errors.New("want a number, or none")
	}
	f.value = n
	return nil
}
