package chart

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
)

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		axis axis
		want []float64
	}{
		{axis{lo: 0, hi: 101}, []float64{0, 20, 40, 60, 80, 100}},
		{axis{lo: 0, hi: 1.1}, []float64{0, .2, .4, .6, .8, 1}},
		{axis{lo: 0, hi: 80}, []float64{0, 20, 40, 60, 80}},
		{axis{log: true, lo: 3.7, hi: 5100}, []float64{10, 30, 100, 300, 1000, 3000}},
		{axis{log: true, lo: .9, hi: 30}, []float64{1, 2, 3, 5, 7, 10, 20, 30}},
		{axis{log: true, lo: 1.5, hi: 8}, []float64{2, 3, 5, 7}},
		{axis{log: true, lo: .009, hi: 1e6}, []float64{.009, 1e6}},       // more powers of ten than there is room for
		{axis{log: true, lo: 40, hi: 44}, []float64{40, 41, 42, 43, 44}}, // no power of ten is near
	} {
		if got, want := fmt.Sprintf("%.4g", c.axis.ticks()), fmt.Sprintf("%.4g", c.want); got != want {
			t.Errorf("%+v: %s, want %s", c.axis, got, want)
		}
	}
}

func TestPlace(t *testing.T) {
	for _, c := range []struct {
		axis    axis
		v, want float64
	}{
		{axis{lo: 0, hi: 10}, 0, 0},
		{axis{lo: 0, hi: 10}, 10, 1},
		{axis{lo: 0, hi: 10}, 2.5, .25},
		{axis{lo: 0, hi: 10}, -3, 0},
		{axis{log: true, lo: 1, hi: 100}, 10, .5},
		{axis{log: true, lo: 1, hi: 100}, 0, 0},
	} {
		if got := c.axis.place(c.v); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v has %v at %v, want %v", c.axis, c.v, got, c.want)
		}
	}
}

// All that a panel shows is on its axis, of odd panels too.
func TestAxisHasRoom(t *testing.T) {
	for name, rows := range map[string][]Row{
		"nothing":      nil,
		"not measured": {{Label: "x", Limit: 5}},
		"zeros":        {{Samples: []float64{0, 0}}},
		"negative":     {{Samples: []float64{-3, -2}}},
		"one":          {{Samples: []float64{7}, Median: 7}},
		"all":          {{Samples: []float64{3, 9}, Limit: 1, Baseline: &Baseline{Samples: []float64{5000}}}},
	} {
		for _, log := range []bool{true, false} {
			p := Panel{Log: log, Rows: rows}
			a := p.axis()
			if ticks := a.ticks(); len(ticks) < 2 || len(ticks) > maxTicks {
				t.Errorf("%s, log %v: %+v has ticks %v", name, log, a, ticks)
			}
			for _, r := range rows {
				values := append([]float64{r.Limit}, r.Samples...)
				if r.Baseline != nil {
					values = append(values, r.Baseline.Samples...)
				}
				for _, v := range values {
					if at := a.place(v); !(at >= 0 && at <= 1) {
						t.Errorf("%s, log %v: %v is at %v of %+v", name, log, v, at, a)
					}
				}
			}
		}
	}
}

// A chart is well-formed whatever it is named, and shows what it was given.
func TestWriteSVG(t *testing.T) {
	text := func(v float64) string { return fmt.Sprintf("%g ms", v) }
	c := Chart{Title: `fast & "small" <ok>`, Panels: []Panel{
		{Log: true, Text: text, Tick: text, Rows: []Row{
			{Group: "a <group>", Label: "one", Samples: []float64{1, 2, 3}, Median: 2, Limit: 5},
			{Group: "a <group>", Label: "two", Samples: []float64{40}, Median: 40, Limit: 5, Baseline: &Baseline{Samples: []float64{900, 901}, Median: 900}},
			{Label: "three", Limit: 7},
		}},
		{Text: text, Tick: text, Rows: []Row{{Label: "four", Samples: []float64{60}, Median: 60}}},
	}}
	var svg strings.Builder
	if err := c.WriteSVG(&svg); err != nil {
		t.Fatal(err)
	}
	elements, texts := map[string]int{}, map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(svg.String())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, &svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			elements[token.Name.Local]++
		case xml.CharData:
			texts[string(token)]++
		}
	}
	const legend, paper = 2, 1
	if got, want := elements["circle"], 3+1+2+1+legend; got != want {
		t.Errorf("%d samples, want %d", got, want)
	}
	if got, want := elements["rect"], 2+1+1+legend+paper; got != want {
		t.Errorf("%d medians, want %d", got-legend-paper, want-legend-paper)
	}
	for word, want := range map[string]int{
		c.Title: 2, "a <group>": 1, "one": 1, "two": 1, "three": 1, "four": 1, "2 ms": 1, "40 ms": 2, "met": 1, "missed": 1,
	} {
		if texts[word] != want {
			t.Errorf("%q is there %d times, want %d", word, texts[word], want)
		}
	}
}
