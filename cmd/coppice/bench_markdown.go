package main

import (
	"fmt"
	"strings"
)

// markdown is the report as a page, which shows plots that are beside it.
func (r report) markdown() string {
	var page strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&page, format, args...) }

	command := "coppice bench all"
	if r.Quick {
		command += " --quick"
	}
	met, all := r.targets()
	put("# What coppice takes\n\n")
	put("Written by `%s` on %s UTC; it took %.0f minutes. %d of %d targets are met.\n", command, r.Began.Format("2 January 2006, 15:04"), r.Seconds/60, met, all)
	if r.Quick {
		put("This is a quick run, of a round or two: it shows that everything can be measured, and little more.\n")
	}
	if r.LoadBefore > quietLoad {
		put("\n> **The machine was not quiet:** its load average was %.2f when this began. What is measured takes longer then.\n", r.LoadBefore)
	}
	put("\n| | |\n|---|---|\n")
	for _, line := range [][2]string{
		{"processor", fmt.Sprintf("%s, %d cores", r.Machine.CPU, r.Machine.Cores)},
		{"memory", gib(r.Machine.MemoryMiB << 20)},
		{"kernel", r.Machine.Kernel},
		{"VMs are run by", r.Machine.VMM},
		{"pool", r.Machine.Pool},
		{"coppice", r.Machine.Coppice},
		{"load average before, after", fmt.Sprintf("%.2f, %.2f", r.LoadBefore, r.LoadAfter)},
	} {
		put("| %s | %s |\n", line[0], line[1])
	}
	put("\nA target is what the median is not to exceed, on a quiet machine of two cores that emulates its VMs' processors (tcg).\n")
	put("Every sample is in the plots and in [report.json](report.json).\n")
	put("\n![medians and samples in percent of their targets](targets.svg)\n")
	for _, one := range r.Benchmarks {
		put("\n%s", one.markdown())
	}
	return page.String()
}

// markdown is the section of one benchmark.
func (r result) markdown() string {
	var page strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&page, format, args...) }

	put("## %s\n\nMeasures %s.", r.Name, r.What)
	if r.Baseline != "" {
		put(" The baseline is %s.", r.Baseline)
	}
	if r.Error != "" {
		put("\n\n**It failed:** %s", strings.TrimSpace(r.Error))
	}
	put("\n\n![every sample of %s](%[1]s.svg)\n\n", r.Name)
	put("| | n | p50 | p95 | max | baseline p50 | baseline / p50 | target | |\n|---|--:|--:|--:|--:|--:|--:|--:|---|\n")
	for _, f := range r.Figures {
		put("| %s | %d | %s | %s | %s | %s | %s | %s | %s |\n",
			f.Name, f.N, f.own(f.P50), f.own(f.P95), f.own(f.Max), f.baselineText(), f.ratio(), f.targetText(), f.verdict())
	}
	for i, note := range r.Notes {
		if i == 0 {
			put("\n")
		}
		put("- %s\n", note)
	}
	return page.String()
}

// ratio says how many times the figure the baseline is; empty if that cannot be said.
func (f figure) ratio() string {
	if f.Baseline == nil || f.P50 <= 0 {
		return ""
	}
	return fmt.Sprintf("%.3g", f.Baseline.P50/f.P50)
}
