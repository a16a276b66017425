package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/internal/progress"
)

func (m *Main) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine, on VMs made for it",
	}
	var runs int
	boot := &cobra.Command{
		Use:   "boot",
		Short: "Measure create and start, each up to the first command's answer",
		Args:  cobra.NoArgs,
		RunE: m.then(func(ctx context.Context, _ []string) error {
			return m.bench(ctx, runs, benchBoot)
		}),
	}
	boot.Flags().IntVarP(&runs, "runs", "n", 5, "how often")
	exec := &cobra.Command{
		Use:   "exec",
		Short: "Measure the round trip of /bin/true",
		Args:  cobra.NoArgs,
		RunE: m.then(func(ctx context.Context, _ []string) error {
			return m.bench(ctx, runs, benchExec)
		}),
	}
	exec.Flags().IntVarP(&runs, "runs", "n", 100, "how often")
	cmd.AddCommand(boot, exec, m.benchSSHCommand())
	m.addForkBenches(cmd)
	return cmd
}

// A report is what a benchmark found.
type report struct {
	Machine machine  `json:"machine"`
	Figures []figure `json:"figures"`
	Sizes   []size   `json:"sizes,omitempty"`
	Memory  *memory  `json:"memory,omitempty"` // nil if the daemon is on another machine
	Notes   []string `json:"notes,omitempty"`  // what there is to know about the figures
}

// A figure is one thing that was measured, in milliseconds.
type figure struct {
	Name    string    `json:"name"`
	N       int       `json:"n"`
	P50     float64   `json:"p50Ms"`
	P95     float64   `json:"p95Ms"`
	Max     float64   `json:"maxMs"`
	Samples []float64 `json:"samplesMs"` // as they came
}

// A bench is one benchmark that is running.
type bench struct {
	client *client.Client
	step   *progress.Step
	// idle is called while a VM of the benchmark runs and does nothing.
	idle    func()
	order   []string
	samples map[string][]time.Duration

	dir   host.Dir
	local bool      // the daemon is of this machine, and dir its directory
	log   daemonLog // empty unless local

	warmingUp bool // nothing is recorded
	sizes     sizes
	notes     []string
	made      []string // VMs to delete in the end
}

// A measurement is what a benchmark does. It takes the number of its rounds.
type measurement func(context.Context, *bench, int) error

// add records how long something took that began at start.
func (b *bench) add(name string, start time.Time) { b.record(name, time.Since(start)) }

// record records how long something took.
func (b *bench) record(name string, took time.Duration) {
	if b.warmingUp {
		return
	}
	if b.samples[name] == nil {
		b.order = append(b.order, name)
	}
	b.samples[name] = append(b.samples[name], took)
}

// note says something about the figures.
func (b *bench) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

// bench runs a benchmark and prints its report.
func (m *Main) bench(ctx context.Context, runs int, measure measurement) error {
	if runs < 1 {
		return fmt.Errorf("--runs %d: want 1 or more", runs)
	}
	c, err := m.client()
	if err != nil {
		return err
	}
	r := report{Machine: describeMachine()}
	b := &bench{client: c, samples: map[string][]time.Duration{}, dir: m.config.dir()}
	if _, err := b.dir.Daemon(); err == nil {
		b.local, b.log = true, daemonLog(b.dir.Log())
	}
	b.idle = func() { r.Memory = m.memory(ctx, c) }
	err = progress.New(m.Stderr).Do("bench", func(step *progress.Step) error {
		b.step = step
		return errors.Join(measure(ctx, b, runs), b.clear())
	})
	if err != nil {
		return err
	}
	for _, name := range b.order {
		r.Figures = append(r.Figures, summarize(name, b.samples[name]))
	}
	r.Sizes, r.Notes = b.sizes.summarize(), b.notes
	return m.print(r, r.write)
}

func benchBoot(ctx context.Context, b *bench, runs int) error {
	for i := range runs {
		b.step.Note("boot %d of %d", i+1, runs)
		err := b.withVM(ctx, func(id string) error {
			if _, err := b.client.Stop(ctx, id); err != nil {
				return err
			}
			start := time.Now()
			if _, err := b.client.Start(ctx, id, api.StartVM{}); err != nil {
				return err
			}
			b.add("start", start)
			if err := b.true(ctx, id); err != nil {
				return err
			}
			b.add("start to first exec", start)
			if i == runs-1 {
				b.idle()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func benchExec(ctx context.Context, b *bench, runs int) error {
	b.step.Note("booting a VM")
	return b.withVM(ctx, func(id string) error {
		const warmUp = 5 // the first ones find cold caches; boot measures them
		b.step.Note("%d runs of /bin/true", runs)
		for i := range warmUp + runs {
			start := time.Now()
			if err := b.true(ctx, id); err != nil {
				return err
			}
			if i >= warmUp {
				b.add("exec /bin/true", start)
			}
		}
		b.idle()
		return nil
	})
}

// withVM makes a VM, measures how long it takes to its first answer, lets do
// use it, and deletes it.
func (b *bench) withVM(ctx context.Context, do func(id string) error) (err error) {
	start := time.Now()
	vm, err := b.client.Create(ctx, api.CreateVM{VMSpec: api.VMSpec{Name: new("bench"), IdleTimeoutSeconds: never}})
	if err != nil {
		return err
	}
	defer func() {
		// Also after Ctrl-C.
		if _, deleted := b.client.Delete(context.WithoutCancel(ctx), vm.ID); err == nil {
			err = deleted
		}
	}()
	b.add("create", start)
	if err := b.true(ctx, vm.ID); err != nil {
		return err
	}
	b.add("create to first exec", start)
	return do(vm.ID)
}

// true runs /bin/true in a VM.
func (b *bench) true(ctx context.Context, id string) error {
	result, err := b.client.ExecAwait(ctx, id, coppice.ExecSpec{Command: "/bin/true"})
	if err == nil && result.StatusCode != 0 {
		err = fmt.Errorf("/bin/true ended with status %d: %s", result.StatusCode, result.Stderr)
	}
	return err
}

// summarize needs one sample at least.
func summarize(name string, samples []time.Duration) figure {
	f := figure{Name: name, N: len(samples)}
	for _, s := range samples {
		f.Samples = append(f.Samples, milliseconds(s))
	}
	sorted := slices.Sorted(slices.Values(samples))
	f.P50 = milliseconds(percentile(sorted, 50))
	f.P95 = milliseconds(percentile(sorted, 95))
	f.Max = milliseconds(sorted[len(sorted)-1])
	return f
}

// percentile returns the smallest of the sorted samples that p percent of them
// do not exceed: always one that was measured.
func percentile[T any](sorted []T, p float64) T {
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}

func (r report) write(w *tabwriter.Writer) {
	fmt.Fprintf(w, "%s, coppice %s\n", r.Machine, r.Machine.Coppice)
	fmt.Fprintln(w, "\t      n\t     p50\t     p95\t     max")
	for _, f := range r.Figures {
		fmt.Fprintf(w, "%s\t%7d\t%8s\t%8s\t%8s\n", f.Name, f.N, human(f.P50), human(f.P95), human(f.Max))
	}
	for _, s := range r.Sizes {
		fmt.Fprintf(w, "%s\t%7d\t%5.1f MiB\t%5.1f MiB\t%5.1f MiB\n", s.Name, s.N, s.P50, s.P95, s.Max)
	}
	if r.Memory != nil {
		fmt.Fprintf(w, "daemon memory (RSS)\t%5.1f MiB (VMs known: %d, running: %d)\n", r.Memory.DaemonMiB, r.Memory.VMs, r.Memory.Running)
		fmt.Fprintf(w, "host memory per VM (PSS)\t%5.1f MiB on average\n", r.Memory.PerVMMiB)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "(%s)\n", note)
	}
}

// human writes milliseconds with three digits that matter.
func human(ms float64) string {
	switch {
	case ms >= 1000:
		return fmt.Sprintf("%.2f s", ms/1000)
	case ms >= 100:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.2f ms", ms)
}
