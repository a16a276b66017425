package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/coppice-vm/coppice"
)

// A phase is one of a verb, as in docs/METRICS.md.
type phase struct {
	verb coppice.Verb
	name string
}

// phases are how long phases took.
type phases map[phase]time.Duration

// toRunning is how long it took from a capture until a guest went on.
func (p phases) toRunning(verb coppice.Verb) time.Duration {
	return p[phase{verb, "files"}] + p[phase{verb, "network"}] + p[phase{verb, "process"}]
}

// phases does something and returns how long the phases of its verbs took, which
// only the daemon can tell: the mean of a phase of which there were several.
func (b *bench) phases(ctx context.Context, do func() error) (phases, error) {
	before, err := b.counted(ctx)
	if err != nil {
		return nil, err
	}
	if err := do(); err != nil {
		return nil, err
	}
	after, err := b.counted(ctx)
	if err != nil {
		return nil, err
	}
	took := phases{}
	for p, now := range after {
		if n := now.count - before[p].count; n > 0 {
			took[p] = time.Duration((now.seconds - before[p].seconds) / float64(n) * float64(time.Second))
		}
	}
	return took, nil
}

// A tally is how often something was done, and how long that took in sum.
type tally struct {
	count   uint64
	seconds float64
}

// counted returns what the daemon has counted of what worked.
func (b *bench) counted(ctx context.Context) (map[phase]tally, error) {
	text, err := b.client.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	return talliesIn(text)
}

// talliesIn reads the metrics of a daemon.
func talliesIn(text []byte) (map[phase]tally, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("the daemon's metrics: %w", err)
	}
	counts := map[phase]tally{}
	for _, metric := range families["coppice_verb_seconds"].GetMetric() {
		labels := map[string]string{}
		for _, l := range metric.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if labels["outcome"] == "worked" {
			h := metric.GetHistogram()
			counts[phase{coppice.Verb(labels["verb"]), labels["phase"]}] = tally{h.GetSampleCount(), h.GetSampleSum()}
		}
	}
	return counts, nil
}
