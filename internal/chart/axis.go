package chart

import (
	"math"
	"slices"
)

// How many ticks an axis needs, and has room for.
const (
	minTicks = 3
	maxTicks = 8
)

// An axis places values from lo to hi.
type axis struct {
	log    bool
	lo, hi float64
}

// axis has room for all that the panel's rows show.
func (p Panel) axis() axis {
	var values []float64
	for _, r := range p.Rows {
		values = append(values, r.Samples...)
		if r.Baseline != nil {
			values = append(values, r.Baseline.Samples...)
		}
		if r.Limit > 0 {
			values = append(values, r.Limit)
		}
	}
	if p.Log { // which has no place for what is not positive
		values = slices.DeleteFunc(values, func(v float64) bool { return v <= 0 })
	}
	if len(values) == 0 {
		values = []float64{1}
	}
	a := axis{log: p.Log, hi: slices.Max(values) * 1.1}
	if p.Log {
		a.lo = slices.Min(values) / 1.1
	}
	if a.hi <= a.lo {
		a.hi = a.lo + 1
	}
	return a
}

// place returns where a value is: 0 at the axis's beginning, 1 at its end. What
// is below the beginning is put there.
func (a axis) place(v float64) float64 {
	v = max(v, a.lo)
	if a.log {
		return math.Log(v/a.lo) / math.Log(a.hi/a.lo)
	}
	return (v - a.lo) / (a.hi - a.lo)
}

// ticks returns round values on the axis, as many as there is room for.
func (a axis) ticks() []float64 {
	if !a.log {
		return steps(a.lo, a.hi)
	}
	for _, of := range [][]float64{{1, 2, 3, 5, 7}, {1, 2, 5}, {1, 3}, {1}} {
		var ticks []float64
		for power := math.Floor(math.Log10(a.lo)); power <= math.Log10(a.hi); power++ {
			for _, m := range of {
				if v := m * math.Pow(10, power); v >= a.lo && v <= a.hi {
					ticks = append(ticks, v)
				}
			}
		}
		switch {
		case len(ticks) < minTicks:
			return steps(a.lo, a.hi)
		case len(ticks) <= maxTicks:
			return ticks
		}
	}
	return []float64{a.lo, a.hi} // there is no chart of so many powers of ten
}

// steps returns the multiples from lo to hi of the smallest round number that
// there is room for.
func steps(lo, hi float64) []float64 {
	for power := math.Floor(math.Log10((hi - lo) / maxTicks)); ; power++ {
		for _, m := range []float64{1, 2, 5} {
			step := m * math.Pow(10, power)
			if (hi-lo)/step >= maxTicks {
				continue
			}
			var ticks []float64
			for i := math.Ceil(lo / step); i*step <= hi; i++ {
				ticks = append(ticks, i*step)
			}
			return ticks
		}
	}
}
