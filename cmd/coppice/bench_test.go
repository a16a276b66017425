package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSummarize(t *testing.T) {
	const ms = time.Millisecond
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100-i) * ms // from 100 down to 1
	}
	for _, c := range []struct {
		samples       []time.Duration
		p50, p95, max float64
	}{
		{[]time.Duration{7 * ms}, 7, 7, 7},
		{[]time.Duration{3 * ms, 1 * ms}, 1, 3, 3},
		{[]time.Duration{5 * ms, 1 * ms, 3 * ms}, 3, 5, 5},
		{hundred, 50, 95, 100},
	} {
		f := summarize("x", c.samples)
		if f.P50 != c.p50 || f.P95 != c.p95 || f.Max != c.max || f.N != len(c.samples) {
			t.Errorf("%v: p50 %v p95 %v max %v, want %v %v %v", c.samples, f.P50, f.P95, f.Max, c.p50, c.p95, c.max)
		}
	}
	f := summarize("x", []time.Duration{3 * ms, 1 * ms})
	if diff := cmp.Diff([]float64{3, 1}, f.Samples); diff != "" {
		t.Errorf("the samples are not as they came:\n%s", diff)
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
