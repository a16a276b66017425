package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSizes(t *testing.T) {
	b := &bench{warmingUp: true}
	b.recordMiB("b", 99)
	b.warmingUp = false
	b.recordMiB("b", 3)
	b.recordMiB("a", 7)
	b.recordMiB("b", 1)
	want := []size{
		{Name: "b", N: 2, P50: 1, P95: 3, Max: 3, Samples: []float64{3, 1}},
		{Name: "a", N: 1, P50: 7, P95: 7, Max: 7, Samples: []float64{7}},
	}
	if diff := cmp.Diff(want, b.sizes.summarize()); diff != "" {
		t.Error(diff)
	}
}

func TestFlagsOf(t *testing.T) {
	const cmdline = "coppice-vm:/run/x\x00-nodefaults\x00-accel\x00tcg,tb-size=64\x00-cpu\x00max\x00-m\x001024M\x00-append\x00-smp\x00"
	for _, c := range []struct {
		names, want []string
	}{
		{[]string{"-accel", "-m"}, []string{"-accel", "tcg,tb-size=64", "-m", "1024M"}},
		{[]string{"-cpu", "-none"}, []string{"-cpu", "max"}},
		{[]string{"-none"}, nil},
	} {
		if diff := cmp.Diff(c.want, flagsOf(cmdline, c.names...)); diff != "" {
			t.Errorf("%v:\n%s", c.names, diff)
		}
	}
}
