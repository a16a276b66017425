package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
