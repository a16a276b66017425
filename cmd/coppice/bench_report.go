package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Units of figures.
const (
	milliseconds = "ms"
	mebibytes    = "MiB"
)

// A report is what benchmarks found.
type report struct {
	Began      time.Time `json:"began"`
	Seconds    float64   `json:"seconds"` // it took
	Quick      bool      `json:"quick"`   // few rounds
	Machine    machine   `json:"machine"`
	LoadBefore float64   `json:"loadBefore"` // the load average over the minute before
	LoadAfter  float64   `json:"loadAfter"`
	Benchmarks []result  `json:"benchmarks"`
}

// A result is what one benchmark found.
type result struct {
	Name     string   `json:"name"`
	What     string   `json:"what"`
	Baseline string   `json:"baseline,omitempty"` // what the figures' baselines are
	Seconds  float64  `json:"seconds"`            // it took
	Error    string   `json:"error,omitempty"`    // why it did not come to its end
	Figures  []figure `json:"figures"`
	Notes    []string `json:"notes,omitempty"` // what there is to know about the figures

	err error // which Error tells
}

// A figure is one thing that was measured. It has no samples if it has a target
// and was not.
type figure struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	series
	Baseline *series `json:"baseline,omitempty"`
	Target   *target `json:"target,omitempty"`
	Met      *bool   `json:"met,omitempty"` // the target; nil if there is none, or it cannot be said
}

// A series is a number of samples, in a figure's unit.
type series struct {
	N       int       `json:"n"`
	P50     float64   `json:"p50"`
	P95     float64   `json:"p95"`
	Max     float64   `json:"max"`
	Samples []float64 `json:"samples"` // as they came
}

// A target is what a figure's median is not to exceed.
type target struct {
	P50        float64 `json:"p50,omitempty"`        // in the figure's unit; 0 if it is not limited
	OfBaseline float64 `json:"ofBaseline,omitempty"` // as a part of the baseline's; 0 if it is not limited

	unit string // of the figure; empty for milliseconds
}

// result is what the benchmark that has run has found.
func (b *bench) result(of benchmark, took time.Duration, failed error) result {
	r := result{Name: of.name, What: of.what, Baseline: of.baseline, Seconds: took.Seconds(), Notes: b.notes, Figures: []figure{}, err: failed}
	if failed != nil {
		r.Error = explain(failed)
	}
	for _, name := range slices.Sorted(maps.Keys(of.targets)) {
		goal := of.targets[name]
		b.figure(name, cmp.Or(goal.unit, milliseconds)).Target = &goal
	}
	for _, f := range b.figures {
		f.summarize()
		r.Figures = append(r.Figures, *f)
	}
	return r
}

// failure is why benchmarks did not come to their end.
func (r report) failure() (err error) {
	for _, one := range r.Benchmarks {
		err = errors.Join(err, one.err)
	}
	return err
}

// targets returns how many targets there are, and how many were met.
func (r report) targets() (met, all int) {
	for _, one := range r.Benchmarks {
		for _, f := range one.Figures {
			if f.Target != nil {
				all++
			}
			if f.Met != nil && *f.Met {
				met++
			}
		}
	}
	return met, all
}

// summarize reckons what is said of the samples.
func (f *figure) summarize() {
	f.series.summarize()
	if f.Baseline != nil {
		f.Baseline.summarize()
	}
	if limit := f.limit(); f.N > 0 && limit > 0 {
		f.Met = new(f.P50 <= limit)
	}
}

func (s *series) summarize() {
	s.N = len(s.Samples)
	if s.N == 0 {
		return
	}
	sorted := slices.Sorted(slices.Values(s.Samples))
	s.P50, s.P95, s.Max = percentile(sorted, 50), percentile(sorted, 95), sorted[s.N-1]
}

// percentile returns the smallest of the sorted samples that p percent of them
// do not exceed: always one that was measured.
func percentile(sorted []float64, p float64) float64 {
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func (r report) write(w *tabwriter.Writer) {
	fmt.Fprintf(w, "%s, coppice %s\n", r.Machine, r.Machine.Coppice)
	for _, one := range r.Benchmarks {
		fmt.Fprintf(w, "\n%s\t      n\t     p50\t     p95\t     max\tbaseline\ttarget\t\n", one.Name)
		for _, f := range one.Figures {
			fmt.Fprintf(w, "%s\t%7d\t%8s\t%8s\t%8s\t%8s\t%s\t%s\n",
				f.Name, f.N, f.own(f.P50), f.own(f.P95), f.own(f.Max), f.baselineText(), f.targetText(), f.verdict())
		}
		for _, note := range one.Notes {
			fmt.Fprintf(w, "(%s)\n", note)
		}
	}
}

// text writes a number in the figure's unit.
func (f figure) text(n float64) string {
	if f.Unit == milliseconds {
		return human(n)
	}
	return mebibyteText(n)
}

func mebibyteText(n float64) string { return fmt.Sprintf("%.1f MiB", n) }

// own writes a number of the figure's own series; a dash if that is empty.
func (f figure) own(n float64) string {
	if f.N == 0 {
		return "-"
	}
	return f.text(n)
}

// baselineText is the median of the baseline; empty if there is none.
func (f figure) baselineText() string {
	if f.Baseline == nil {
		return ""
	}
	return f.text(f.Baseline.P50)
}

// limit returns what the median is not to exceed; 0 if it is not limited, or the
// baseline that limits it was not measured.
func (f figure) limit() float64 {
	if f.Target == nil || f.Target.OfBaseline > 0 && f.Baseline == nil {
		return 0
	}
	limit := f.Target.P50
	if of := f.Target.OfBaseline; of > 0 && (limit == 0 || of*f.Baseline.P50 < limit) {
		limit = of * f.Baseline.P50
	}
	return limit
}

// targetText says what the target is; empty if there is none.
func (f figure) targetText() string {
	if f.Target == nil {
		return ""
	}
	var limits []string
	if f.Target.P50 > 0 {
		limits = append(limits, f.text(f.Target.P50))
	}
	switch of := f.Target.OfBaseline; {
	case of >= 1:
		limits = append(limits, fmt.Sprintf("%.0f %% of the baseline", 100*of))
	case of > 0:
		limits = append(limits, fmt.Sprintf("1/%.0f of the baseline", 1/of))
	}
	return strings.Join(limits, ", ")
}

// verdict says whether the target was met; empty if there is none.
func (f figure) verdict() string {
	switch {
	case f.Target == nil:
		return ""
	case f.Met == nil:
		return "not measured"
	case *f.Met:
		return "met"
	}
	return "missed"
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

// humanRound writes round milliseconds, of which all digits matter.
func humanRound(ms float64) string {
	if ms >= 1000 {
		return fmt.Sprintf("%g s", ms/1000)
	}
	return fmt.Sprintf("%g ms", ms)
}
