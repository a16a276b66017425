package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/coppice-vm/coppice"
)

func TestSummarize(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i) // from 100 down to 1
	}
	for _, c := range []struct {
		samples       []float64
		p50, p95, max float64
	}{
		{nil, 0, 0, 0},
		{[]float64{7}, 7, 7, 7},
		{[]float64{3, 1}, 1, 3, 3},
		{[]float64{5, 1, 3}, 3, 5, 5},
		{hundred, 50, 95, 100},
	} {
		s := series{Samples: c.samples}
		s.summarize()
		if want := (series{len(c.samples), c.p50, c.p95, c.max, c.samples}); !cmp.Equal(want, s) {
			t.Errorf("%v: %s", c.samples, cmp.Diff(want, s))
		}
	}
}

// asSaved compares what of reports is saved.
var asSaved = cmp.Options{
	cmp.AllowUnexported(figure{}),
	cmpopts.IgnoreUnexported(result{}, target{}),
}

// What is recorded while warming up is not counted, and figures are in the order
// in which they were first recorded; those that have a target and were not come last.
func TestResult(t *testing.T) {
	b := &bench{warmingUp: true}
	b.record("b", time.Hour)
	b.recordBaseline("b", time.Hour)
	b.recordMiB("c", 99)
	b.warmingUp = false
	b.record("b", 3*time.Millisecond)
	b.recordMiB("a", 7)
	b.record("b", time.Millisecond)
	b.recordBaseline("b", 40*time.Millisecond)
	b.note("%d VMs", 3)
	goal := target{P50: 1, unit: mebibytes}
	of := benchmark{name: "x", targets: map[string]target{"a": goal, "z": goal}}
	got := b.result(of, 2*time.Second, coppice.Errorf(coppice.CodeConflict, "it is busy"))
	want := result{
		Name: "x", Seconds: 2, Error: "it is busy (CONFLICT)", Notes: []string{"3 VMs"},
		Figures: []figure{
			{Name: "b", Unit: "ms", series: series{2, 1, 3, 3, []float64{3, 1}}, Baseline: &series{1, 40, 40, 40, []float64{40}}},
			{Name: "a", Unit: "MiB", series: series{1, 7, 7, 7, []float64{7}}, Target: &goal, Met: new(false)},
			{Name: "z", Unit: "MiB", Target: &goal},
		},
	}
	if diff := cmp.Diff(want, got, asSaved); diff != "" {
		t.Error(diff)
	}
}

func TestTargets(t *testing.T) {
	at := func(p50 float64) series { return series{N: 1, P50: p50, Samples: []float64{p50}} }
	baseline := at(200)
	for _, c := range []struct {
		figure figure
		want   string
	}{
		{figure{series: at(5)}, ": "},
		{figure{series: at(5), Target: &target{P50: 5}}, "5.00 ms: met"},
		{figure{series: at(5.01), Target: &target{P50: 5}}, "5.00 ms: missed"},
		{figure{Target: &target{P50: 5}}, "5.00 ms: not measured"},
		{figure{series: at(10), Baseline: &baseline, Target: &target{OfBaseline: 1. / 20}}, "1/20 of the baseline: met"},
		{figure{series: at(11), Baseline: &baseline, Target: &target{OfBaseline: 1. / 20}}, "1/20 of the baseline: missed"},
		{figure{series: at(220), Baseline: &baseline, Target: &target{OfBaseline: 1.1}}, "110 % of the baseline: met"},
		{figure{series: at(11), Target: &target{OfBaseline: 1. / 20}}, "1/20 of the baseline: not measured"},
		{figure{series: at(1), Target: &target{P50: 5, OfBaseline: 1. / 20}}, "5.00 ms, 1/20 of the baseline: not measured"},
		{figure{series: at(11), Baseline: &baseline, Target: &target{P50: 12, OfBaseline: 1. / 20}}, "12.0 ms, 1/20 of the baseline: missed"},
		{figure{series: at(9), Baseline: &baseline, Target: &target{P50: 8, OfBaseline: 1. / 20}}, "8.00 ms, 1/20 of the baseline: missed"},
	} {
		c.figure.Unit = milliseconds
		c.figure.summarize()
		if got := c.figure.targetText() + ": " + c.figure.verdict(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.figure, got, c.want)
		}
	}
}

func TestHuman(t *testing.T) {
	for ms, want := range map[float64]string{
		0.734: "0.73 ms", 38.94: "38.9 ms", 184.4: "184 ms", 5120: "5.12 s",
	} {
		if got := human(ms); got != want {
			t.Errorf("human(%v) = %s, want %s", ms, got, want)
		}
	}
}

func TestTalliesIn(t *testing.T) {
	const text = `# HELP coppice_verb_seconds How long.
# TYPE coppice_verb_seconds histogram
coppice_verb_seconds_bucket{outcome="worked",phase="pause",verb="capture",le="0.01"} 1
coppice_verb_seconds_bucket{outcome="worked",phase="pause",verb="capture",le="+Inf"} 2
coppice_verb_seconds_sum{outcome="worked",phase="pause",verb="capture"} 0.5
coppice_verb_seconds_count{outcome="worked",phase="pause",verb="capture"} 2
coppice_verb_seconds_bucket{outcome="failed",phase="pause",verb="capture",le="+Inf"} 1
coppice_verb_seconds_sum{outcome="failed",phase="pause",verb="capture"} 9
coppice_verb_seconds_count{outcome="failed",phase="pause",verb="capture"} 1
# HELP go_goroutines How many.
# TYPE go_goroutines gauge
go_goroutines 7
`
	got, err := talliesIn([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[phase]tally{pause: {2, 0.5}}, got, cmp.AllowUnexported(phase{}, tally{})); diff != "" {
		t.Error(diff)
	}
	if _, err := talliesIn([]byte("<html>")); err == nil {
		t.Error("what is not metrics was read")
	}
}

// A report is on the disk as a page, which shows what is beside it, and as JSON.
func TestSave(t *testing.T) {
	measured := &bench{}
	measured.record("5 MB dirty: parent paused", 4*time.Millisecond)
	measured.recordBaseline("5 MB dirty: parent paused", 400*time.Millisecond)
	measured.recordMiB("memory", 40)
	of := benchmark{name: "fork", what: "fork", baseline: "another way", targets: map[string]target{
		"5 MB dirty: parent paused": {P50: 12, OfBaseline: 1. / 20}, "never": {P50: 1},
	}}
	failed := measured.result(of, time.Second, coppice.Errorf(coppice.CodeConflict, "it is busy"))
	r := report{Machine: machine{CPU: "a processor", Cores: 2}, LoadBefore: 3, Benchmarks: []result{failed}}
	dir := filepath.Join(t.TempDir(), "made", "here")
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{
		"1 of 2 targets are met.", "**The machine was not quiet:** its load average was 3.00", "| processor | a processor, 2 cores |",
		"Measures fork. The baseline is another way.", "**It failed:** it is busy (CONFLICT)",
		"| 5 MB dirty: parent paused | 1 | 4.00 ms | 4.00 ms | 4.00 ms | 400 ms | 100 | 12.0 ms, 1/20 of the baseline | met |\n",
		"| memory | 1 | 40.0 MiB | 40.0 MiB | 40.0 MiB |  |  |  |  |\n",
		"| never | 0 | - | - | - |  |  | 1.00 ms | not measured |\n",
	} {
		if !strings.Contains(string(page), words) {
			t.Errorf("the page does not say %q:\n%s", words, page)
		}
	}
	for _, shown := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(page), -1) {
		if _, err := os.Stat(filepath.Join(dir, shown[1])); err != nil {
			t.Error(err)
		}
	}
	var again report
	data, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err == nil {
		err = json.Unmarshal(data, &again)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, again, asSaved); diff != "" {
		t.Error(diff)
	}
}
