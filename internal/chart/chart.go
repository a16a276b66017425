// Package chart draws measurements as SVG: a row for each, with every sample on
// it. A chart stands by itself, needs no font that is not everywhere, and is
// light or dark as its reader's screen is.
package chart

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// A Chart is panels, one below the other.
type Chart struct {
	Title  string
	Panels []Panel
}

// A Panel is rows with one axis.
type Panel struct {
	Log  bool                   // the axis is logarithmic; if not, it begins at 0
	Text func(v float64) string // writes a value
	Tick func(v float64) string // writes a round value at the axis
	Rows []Row
}

// A Row is one thing that was measured.
type Row struct {
	Group    string // heads this row and those after it of the same group; may be empty
	Label    string
	Samples  []float64
	Median   float64
	Baseline *Baseline // nil if there is none
	Limit    float64   // what the median is not to exceed; 0 if there is none
}

// A Baseline is what a row is compared with.
type Baseline struct {
	Samples []float64
	Median  float64
}

// Where things are, in pixels.
const (
	width      = 960
	margin     = 24
	plotLeft   = 304
	plotRight  = 760
	medianAt   = 844 // the end of the median's text
	verdictAt  = 856
	titleSize  = 72 // the title and the legend
	groupSize  = 32
	rowSize    = 26
	axisSize   = 32
	panelSpace = 16
)

const style = `
svg { color-scheme: light dark; --paper: #faf9f6; --line: #e3e1d9; --ink: #1b1d19; --quiet: #5d6058; --own: #23784f; --base: #4a5fb0; --limit: #96580c; }
@media (prefers-color-scheme: dark) { svg { --paper: #121411; --line: #2d302a; --ink: #e8e9e3; --quiet: #a0a499; --own: #79cc98; --base: #9fb0f2; --limit: #e5ac5c; } }
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink); }
.title { font-size: 16px; font-weight: 600; }
.group { font-weight: 600; }
.quiet { fill: var(--quiet); font-size: 12px; }
.number { font-variant-numeric: tabular-nums; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.paper { fill: var(--paper); }
.grid { stroke: var(--line); }
.own { fill: var(--own); }
.dots { fill-opacity: .45; }
.base { fill: none; stroke: var(--base); stroke-opacity: .7; }
.bar { fill: var(--base); }
.limit { stroke: var(--limit); stroke-width: 2; fill: none; }
.missed { fill: var(--limit); font-weight: 600; }
`

// WriteSVG writes the chart as a file of its own.
func (c Chart) WriteSVG(w io.Writer) error {
	var d drawing
	y := float64(titleSize)
	d.text(margin, 32, "title", c.Title)
	d.legend(c, 56)
	for i, p := range c.Panels {
		if i > 0 {
			y += panelSpace
		}
		y = d.panel(p, y)
	}
	height := y + margin/2
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%.0f" viewBox="0 0 %[1]d %.0[2]f" role="img">
<title>%[3]s</title>
<style>%[4]s</style>
<rect class="paper" width="100%%" height="100%%"/>
%[5]s</svg>
`, width, height, escape(c.Title), style, d.String())
	return err
}

// A drawing is the elements of a picture.
type drawing struct{ strings.Builder }

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

func (d *drawing) text(x, y float64, class, text string) {
	d.add(`<text x="%.1f" y="%.1f" class="%s">%s</text>`, x, y, class, escape(text))
}

// sample marks one sample. bar marks a median, limit what it is not to exceed.
func (d *drawing) sample(x, y float64) {
	d.add(`<circle class="own dots" cx="%.1f" cy="%.1f" r="4"/>`, x, y)
}
func (d *drawing) bar(x, y float64, class string) {
	d.add(`<rect class="%s" x="%.1f" y="%.1f" width="3" height="18" rx="1"/>`, class, x-1.5, y-9)
}
func (d *drawing) baseline(x, y float64) {
	d.add(`<circle class="base" cx="%.1f" cy="%.1f" r="3.5"/>`, x, y)
}
func (d *drawing) limit(x, y float64) {
	d.add(`<path class="limit" d="M%.1f %.1fv20m0 0h-4m4 -20h-4"/>`, x, y-10)
}

// legend says what the marks mean that there are.
func (d *drawing) legend(c Chart, y float64) {
	var limits, baselines bool
	for _, p := range c.Panels {
		for _, r := range p.Rows {
			limits = limits || r.Limit > 0
			baselines = baselines || r.Baseline != nil
		}
	}
	x := float64(plotLeft)
	entry := func(there bool, space float64, text string, mark func(x, y float64)) {
		if there {
			mark(x, y-4)
			d.text(x+12, y, "quiet", text)
			x += space
		}
	}
	entry(true, 72, "sample", d.sample)
	entry(true, 80, "median", func(x, y float64) { d.bar(x, y, "own") })
	entry(limits, 160, "target for the median", d.limit)
	entry(baselines, 0, "baseline, and its median", func(x, y float64) { d.baseline(x-4, y); d.bar(x+4, y, "bar") })
}

// panel draws a panel that begins at y, and returns where it ends.
func (d *drawing) panel(p Panel, y float64) float64 {
	axis := p.axis()
	x := func(v float64) float64 { return plotLeft + axis.place(v)*(plotRight-plotLeft) }
	bottom := y + p.height()
	for _, tick := range axis.ticks() {
		d.add(`<path class="grid" d="M%.1f %.1fV%.1f"/>`, x(tick), y, bottom)
		d.text(x(tick), bottom+18, "quiet middle number", p.Tick(tick))
	}
	group := ""
	for _, r := range p.Rows {
		if r.Group != group {
			d.text(margin, y+21, "group", r.Group)
			y += groupSize
			group = r.Group
		}
		d.row(r, y+rowSize/2, x, p.Text)
		y += rowSize
	}
	return bottom + axisSize
}

// height is how high the rows of a panel are.
func (p Panel) height() float64 {
	size, group := 0, ""
	for _, r := range p.Rows {
		if r.Group != group {
			size += groupSize
			group = r.Group
		}
		size += rowSize
	}
	return float64(size)
}

func (d *drawing) row(r Row, y float64, x func(float64) float64, text func(float64) string) {
	d.text(margin, y+4, "", r.Label)
	d.add(`<path class="grid" d="M%d %.1fH%d"/>`, plotLeft, y, plotRight)
	if r.Baseline != nil {
		for _, v := range r.Baseline.Samples {
			d.baseline(x(v), y)
		}
		d.bar(x(r.Baseline.Median), y, "bar")
	}
	for _, v := range r.Samples {
		d.sample(x(v), y)
	}
	if r.Limit > 0 {
		d.limit(x(r.Limit), y)
	}
	if len(r.Samples) == 0 {
		return
	}
	d.bar(x(r.Median), y, "own")
	d.text(medianAt, y+4, "end number", text(r.Median))
	switch {
	case r.Median > r.Limit && r.Limit > 0:
		d.text(verdictAt, y+4, "missed", "missed")
	case r.Limit > 0:
		d.text(verdictAt, y+4, "quiet", "met")
	}
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s))
	return b.String()
}
