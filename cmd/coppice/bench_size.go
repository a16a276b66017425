package main

import "slices"

// A size is how much of something there was, in MiB.
type size struct {
	Name    string    `json:"name"`
	N       int       `json:"n"`
	P50     float64   `json:"p50Mib"`
	P95     float64   `json:"p95Mib"`
	Max     float64   `json:"maxMib"`
	Samples []float64 `json:"samplesMib"` // as they came
}

// sizes are what a benchmark weighs, in the order in which it first did.
type sizes []size

// recordMiB records how much of something there was.
func (b *bench) recordMiB(name string, mib float64) {
	if b.warmingUp {
		return
	}
	i := slices.IndexFunc(b.sizes, func(s size) bool { return s.Name == name })
	if i < 0 {
		i = len(b.sizes)
		b.sizes = append(b.sizes, size{Name: name})
	}
	b.sizes[i].Samples = append(b.sizes[i].Samples, mib)
}

func (all sizes) summarize() []size {
	done := slices.Clone(all)
	for i := range done {
		s := &done[i]
		sorted := slices.Sorted(slices.Values(s.Samples))
		s.N = len(sorted)
		s.P50, s.P95, s.Max = percentile(sorted, 50), percentile(sorted, 95), sorted[len(sorted)-1]
	}
	return done
}
