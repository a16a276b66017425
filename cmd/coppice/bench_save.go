package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/coppice-vm/coppice/internal/chart"
)

// save writes the report to a directory, which it makes: report.md, a plot of each
// benchmark beside it, and report.json.
func (r report) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	files := map[string][]byte{"report.json": append(data, '\n'), "report.md": []byte(r.markdown())}
	plots := map[string]chart.Chart{"targets.svg": r.chart()}
	for _, one := range r.Benchmarks {
		plots[one.Name+".svg"] = one.chart()
	}
	for name, c := range plots {
		var plot bytes.Buffer
		if err := c.WriteSVG(&plot); err != nil {
			return err
		}
		files[name] = plot.Bytes()
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// chart draws all figures that have a target, each as a part of it.
func (r report) chart() chart.Chart {
	part := func(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }
	p := chart.Panel{Log: true, Text: part, Tick: part}
	for _, one := range r.Benchmarks {
		for _, f := range one.Figures {
			limit := f.limit()
			if limit == 0 {
				continue
			}
			row := chart.Row{Group: one.Name, Label: f.Name, Median: f.P50 / limit, Limit: 1}
			for _, s := range f.Samples {
				row.Samples = append(row.Samples, s/limit)
			}
			p.Rows = append(p.Rows, row)
		}
	}
	return chart.Chart{Title: "What has a target, in percent of it", Panels: []chart.Panel{p}}
}

// chart draws what a benchmark found: what are times in one panel, sizes in another.
func (r result) chart() chart.Chart {
	c := chart.Chart{Title: "coppice bench " + r.Name}
	for _, p := range []chart.Panel{
		{Log: true, Text: human, Tick: humanRound},
		{Text: mebibyteText, Tick: func(v float64) string { return fmt.Sprintf("%g MiB", v) }},
	} {
		for _, f := range r.Figures {
			if (f.Unit == milliseconds) == p.Log {
				p.Rows = append(p.Rows, f.row())
			}
		}
		if len(p.Rows) > 0 {
			c.Panels = append(c.Panels, p)
		}
	}
	return c
}

func (f figure) row() chart.Row {
	group, label, grouped := strings.Cut(f.Name, ": ")
	if !grouped {
		group, label = "", f.Name
	}
	row := chart.Row{Group: group, Label: label, Samples: f.Samples, Median: f.P50, Limit: f.limit()}
	if f.Baseline != nil {
		row.Baseline = &chart.Baseline{Samples: f.Baseline.Samples, Median: f.Baseline.P50}
	}
	return row
}
