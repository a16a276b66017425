package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/internal/progress"
)

// A benchmark is one of those that "coppice bench" has.
type benchmark struct {
	name   string // of the command
	what   string // it measures
	counts string // what a round is, as a count of them
	rounds int    // by default
	slow   bool   // a quick run leaves it out
	// baseline is what the figures' baselines are; empty if they have none.
	baseline string
	// targets are those of figures, by their names, for a quiet host of two cores
	// that emulates its VMs' processors.
	targets map[string]target
	measure func(ctx context.Context, b *bench, rounds int) error
}

// benchmarks are all there are, in the order in which "coppice bench all" runs them.
var benchmarks = []benchmark{
	{
		name: "create", what: "create, where a VM has been restored ahead",
		counts: "how often", rounds: 10, measure: benchCreate,
		targets: map[string]target{
			"create answered":      {P50: 20},
			"create to first exec": {P50: 80},
		},
	},
	{
		name: "boot", what: "stop, and start up to the first command's answer",
		counts: "how often", rounds: 5, measure: benchBoot,
		targets: map[string]target{"start to first exec": {P50: 6000}},
	},
	{
		name: "exec", what: "the round trip of a command that does nothing",
		counts: "how often", rounds: 100, measure: benchExec,
		targets: map[string]target{"exec /bin/true": {P50: 60}},
	},
	{
		name: "fork", what: "fork, and the pause of the parent",
		counts: "how often", rounds: 10, measure: benchFork,
		baseline: "QEMU's own way: it stops, migrates all memory to a file, its raw disk is copied (cp --sparse=always --reflink=never), " +
			"and a second QEMU starts from both; nothing is waited for to be on the disk. Of 8 generations it is a fork of the first",
		targets: map[string]target{
			"5 MB dirty: parent paused":              {P50: 12, OfBaseline: 1. / 20},
			"5 MB dirty: fork to running":            {P50: 25},
			"5 MB dirty: fork to first exec":         {P50: 220, OfBaseline: 1. / 10},
			"50 MB dirty: parent paused":             {OfBaseline: 1. / 20},
			"200 MB dirty: parent paused":            {P50: 20, OfBaseline: 1. / 20},
			"500 MB dirty: parent paused":            {P50: 50, OfBaseline: 1. / 20},
			"idle, 8 GiB: parent paused":             {P50: 20},
			"16 children: fork to all have answered": {P50: 5000},
			"8 generations: fork to first exec":      {OfBaseline: 1.1},
		},
	},
	{
		name: "suspend", what: "suspend and resume",
		counts: "how often", rounds: 10, measure: benchSuspend,
		baseline: "QEMU's own way: it stops and migrates all memory to a file, which is not waited for to be on the disk, and from which a second QEMU goes on",
		targets:  map[string]target{"resume to first exec": {P50: 300}},
	},
	{
		name: "density", what: "what each child of a VM takes of memory and disk",
		counts: "how many children", rounds: 16, measure: benchDensity,
		targets: map[string]target{
			"memory (PSS) per idle child": {P50: 50, unit: mebibytes},
			"disk per child":              {P50: 1, unit: mebibytes},
		},
	},
	{
		name: "net", what: "HTTP to a VM by the ingress, and how long one that is asleep takes to answer",
		counts: "how often", rounds: 50, measure: benchNet, baseline: "the same over a connection made in the VM's network namespace, past the ingress",
	},
	{
		name: "ssh", what: "SSH: connect to login, to a shell's prompt, to a command's end",
		counts: "how often", rounds: 20, measure: benchSSH,
	},
	{
		name: "restart", what: "the daemon of a host with 20 VMs: its restart, which cuts connections to VMs, its memory, an audit",
		counts: "how often", rounds: 5, measure: benchRestart,
		targets: map[string]target{"daemon ended to API answers": {P50: 1000}},
	},
	{
		name: "image", what: "a build of the base image, with Debian's packages from where apt gets them",
		counts: "how often", rounds: 1, slow: true, measure: benchImage,
	},
}

func (m *Main) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine, on VMs made for it",
		Long: `Measure this machine, on VMs made for it.

They are deleted afterwards, and when you interrupt. It takes a key that may manage
accounts, as the one in the data directory may. What cannot be seen from afar is
measured on the daemon's machine only. docs/BENCHMARKS.md says how to read it all.`,
	}
	for _, one := range benchmarks {
		var rounds int
		c := &cobra.Command{
			Use:   one.name,
			Short: "Measure " + one.what,
			Args:  cobra.NoArgs,
			RunE: m.then(func(ctx context.Context, _ []string) error {
				if rounds < 1 {
					return fmt.Errorf("--runs %d: want 1 or more", rounds)
				}
				one.rounds = rounds
				return m.benchOne(ctx, one)
			}),
		}
		c.Flags().IntVarP(&rounds, "runs", "n", one.rounds, one.counts)
		cmd.AddCommand(c)
	}
	cmd.AddCommand(m.benchAllCommand())
	return cmd
}

func (m *Main) benchAllCommand() *cobra.Command {
	var quick bool
	var out string
	cmd := &cobra.Command{
		Use:   "all",
		Short: "Run every benchmark and write one report",
		Long: `Run every benchmark and write one report.

The report is report.md, with a plot of each benchmark beside it, and report.json,
which has every sample. All of it is written when the last benchmark has ended; one
that fails is reported as such, and the others are run. It takes about ten minutes,
in which the machine should have nothing else to do. The daemon is restarted a few
times: VMs run on, and connections to them break.`,
		Args: cobra.NoArgs,
		RunE: m.then(func(ctx context.Context, _ []string) error { return m.benchAll(ctx, quick, out) }),
	}
	cmd.Flags().BoolVar(&quick, "quick", false, "measure once what does not take long, to see that it can be")
	cmd.Flags().StringVarP(&out, "out", "o", "bench-report", "directory to write the report to")
	return cmd
}

// benchOne runs one benchmark and prints what it found.
func (m *Main) benchOne(ctx context.Context, one benchmark) error {
	r, err := m.runBenchmarks(ctx, []benchmark{one}, false)
	if err := errors.Join(err, r.failure()); err != nil {
		return err
	}
	return m.print(r, r.write)
}

// benchAll runs every benchmark and writes the report to a directory.
func (m *Main) benchAll(ctx context.Context, quick bool, dir string) error {
	r, err := m.runBenchmarks(ctx, benchmarks, quick)
	if err == nil {
		err = r.save(dir)
	}
	if err != nil {
		return err
	}
	return errors.Join(m.print(r, r.write), r.failure())
}

// runBenchmarks runs benchmarks, one after the other. It fails only if none can
// be run, or if it was interrupted: what fails of one is in the report.
func (m *Main) runBenchmarks(ctx context.Context, run []benchmark, quick bool) (report, error) {
	b := &bench{quick: quick, dir: m.config.dir()}
	var err error
	if b.creds, err = m.credentials(); err != nil {
		return report{}, err
	}
	if b.client, err = m.client(); err != nil {
		return report{}, err
	}
	if found, err := b.dir.ReadCredentials(); err == nil && found.URL == b.creds.URL {
		_, err := b.dir.Daemon()
		b.local = err == nil
	}
	r := report{Began: time.Now().UTC(), Quick: quick}
	if r.Machine, err = b.describeHost(ctx); err != nil {
		return report{}, err
	}
	r.LoadBefore = loadAverage()
	steps := progress.New(m.Stderr)
	for _, one := range run {
		if one.slow && quick {
			continue
		}
		began := time.Now()
		rounds := one.rounds
		if quick {
			rounds = 1
		}
		failed := steps.Do("bench "+one.name, func(step *progress.Step) error {
			b.begin(step)
			return errors.Join(one.measure(ctx, b, rounds), b.clear())
		})
		if ctx.Err() != nil {
			return report{}, ctx.Err()
		}
		r.Benchmarks = append(r.Benchmarks, b.result(one, time.Since(began), failed))
	}
	r.LoadAfter, r.Seconds = loadAverage(), time.Since(r.Began).Seconds()
	return r, nil
}
