package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/internal/progress"
)

// A bench is a run of benchmarks. What is said of figures, notes and VMs is of
// the one that is running.
type bench struct {
	client *client.Client
	creds  host.Credentials
	dir    host.Dir
	local  bool // the daemon is of this machine, and dir its directory
	quick  bool

	step      *progress.Step
	warmingUp bool // nothing is recorded
	figures   []*figure
	notes     []string
	made      []string // VMs to delete in the end
}

// begin begins a benchmark.
func (b *bench) begin(step *progress.Step) {
	b.step, b.warmingUp, b.figures, b.notes = step, false, nil, nil
}

// add records how long something took that began at start.
func (b *bench) add(name string, start time.Time) { b.record(name, time.Since(start)) }

// record records how long something took.
func (b *bench) record(name string, took time.Duration) {
	if !b.warmingUp {
		f := b.figure(name, milliseconds)
		f.Samples = append(f.Samples, took.Seconds()*1000)
	}
}

// recordBaseline records how long what a figure is compared with took.
func (b *bench) recordBaseline(name string, took time.Duration) {
	if !b.warmingUp {
		f := b.figure(name, milliseconds)
		if f.Baseline == nil {
			f.Baseline = new(series)
		}
		f.Baseline.Samples = append(f.Baseline.Samples, took.Seconds()*1000)
	}
}

// recordMiB records how much of something there was.
func (b *bench) recordMiB(name string, mib float64) {
	if !b.warmingUp {
		f := b.figure(name, mebibytes)
		f.Samples = append(f.Samples, mib)
	}
}

// figure returns the figure of that name, which may be a new one.
func (b *bench) figure(name, unit string) *figure {
	for _, f := range b.figures {
		if f.Name == name {
			return f
		}
	}
	f := &figure{Name: name, Unit: unit}
	b.figures = append(b.figures, f)
	return f
}

// repeat does something for so many rounds, and before, unless the run is a
// quick one, for one that is not counted: it finds caches cold.
func (b *bench) repeat(ctx context.Context, rounds int, what string, do func() error) error {
	first := 0
	if b.quick {
		first = 1
	}
	b.step.Note("%s", what)
	defer func() { b.warmingUp = false }()
	for i := first; i <= rounds; i++ {
		b.warmingUp = i == 0
		b.step.Detail("%s, %d of %d", what, i, rounds)
		if err := errors.Join(ctx.Err(), do()); err != nil {
			return err
		}
	}
	return nil
}

// note says something about the figures.
func (b *bench) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}
