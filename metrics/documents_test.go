package metrics

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/coppice-vm/coppice"
)

// docs/METRICS.md lists every metric that is served with its labels, and no others.
func TestPageListsWhatIsServed(t *testing.T) {
	page, err := os.ReadFile("../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("`([^`]+)`")
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`coppice_.+`) \\|.*\\| (.*)\\|$").FindAllStringSubmatch(string(page), -1) {
		var labels []string
		for _, label := range code.FindAllStringSubmatch(row[2], -1) {
			labels = append(labels, label[1])
		}
		slices.Sort(labels)
		for _, name := range code.FindAllStringSubmatch(row[1], -1) {
			listed[name[1]] = strings.Join(labels, " ")
		}
	}
	served := map[string]string{}
	for name, m := range declared(t) {
		if strings.HasPrefix(name, "coppice_") {
			served[name] = strings.Join(m.labels, " ")
		}
	}
	if diff := cmp.Diff(served, listed); diff != "" {
		t.Errorf("what is served, with its labels, and what the page lists:\n%s", diff)
	}
}

// Every query of the dashboard asks for metrics that are served, by labels that they
// have: what asks for others has no answer, which looks like a quiet host.
func TestDashboardAsksForWhatIsServed(t *testing.T) {
	b, err := os.ReadFile("../deploy/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Templating struct {
			List []struct{ Name, Type, Query string }
		}
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := map[string]string{} // and where they are
	for _, variable := range dashboard.Templating.List {
		if variable.Type == "query" {
			queries[labelValues.ReplaceAllString(variable.Query, "$1")] = "$" + variable.Name
		}
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries[target.Expr] = panel.Title
		}
	}
	if len(queries) < 20 {
		t.Errorf("the dashboard has only %d queries", len(queries))
	}
	series := map[string]metric{}
	for name, m := range declared(t) {
		for _, suffix := range m.suffixes {
			series[name+suffix] = m
		}
	}
	for query, where := range queries {
		names, labels := namesIn(query)
		if len(names) == 0 {
			t.Errorf("%s: %s asks for nothing", where, query)
		}
		known := []string{"instance", "le"} // Prometheus's own
		for _, name := range names {
			m, ok := series[name]
			if !ok {
				t.Errorf("%s: %s asks for %s, which is not served", where, query, name)
			}
			known = append(known, m.labels...)
		}
		for _, label := range labels {
			if !slices.Contains(known, label) {
				t.Errorf("%s: %s asks for the label %s, which there is not", where, query, label)
			}
		}
	}
}

var (
	// labelValues is a query of a variable in Grafana's own words.
	labelValues = regexp.MustCompile(`^label_values\((.+), *\w+\)$`)
	// nameless are the parts of a query in which there are no names.
	nameless = regexp.MustCompile(`"[^"]*"|\[[^\]]*\]`)
	// labelled are the parts, of the rest, whose names are of labels.
	labelled = regexp.MustCompile(`\{[^}]*\}|\b(?:by|without|on|ignoring)\s*\([^)]*\)`)
	// word is a name, with its parenthesis if it is a function's.
	word = regexp.MustCompile(`\b[a-zA-Z_:][\w:]*\b\s*\(?`)
)

// namesIn returns the names in a query. A word that it does not know is one of a metric.
func namesIn(query string) (metrics, labels []string) {
	query = nameless.ReplaceAllString(query, "")
	for _, part := range labelled.FindAllString(query, -1) {
		labels = append(labels, words(part)...)
	}
	return words(labelled.ReplaceAllString(query, " ")), labels
}

// words returns the names in s but those of functions.
func words(s string) (names []string) {
	for _, w := range word.FindAllString(s, -1) {
		if name := strings.TrimSpace(w); !strings.HasSuffix(name, "(") {
			names = append(names, name)
		}
	}
	return names
}

// A metric is what is declared of one.
type metric struct {
	labels   []string // sorted
	suffixes []string // of the names of its series
}

// declared returns the metrics that a recorder serves, by name.
func declared(t *testing.T) map[string]metric {
	t.Helper()
	r := New("1.2.3", slog.New(slog.NewTextHandler(t.Output(), nil)))
	count(r, func(context.Context) (coppice.Census, error) { return coppice.Census{}, nil })
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]metric{}
	for _, family := range families {
		var m metric
		for _, label := range family.GetMetric()[0].GetLabel() {
			m.labels = append(m.labels, label.GetName())
		}
		slices.Sort(m.labels)
		switch family.GetType().String() {
		case "HISTOGRAM":
			m.suffixes = []string{"_bucket", "_sum", "_count"}
		case "SUMMARY":
			m.suffixes = []string{"", "_sum", "_count"}
		default:
			m.suffixes = []string{""}
		}
		found[family.GetName()] = m
	}
	// What nothing has been counted of is not gathered.
	descs := make(chan *prometheus.Desc)
	go func() { r.registry.Describe(descs); close(descs) }()
	for desc := range descs {
		name := fqName.FindStringSubmatch(desc.String())[1]
		if _, ok := found[name]; !ok && strings.HasPrefix(name, "coppice_") {
			t.Errorf("nothing has been counted of %s", name)
		}
	}
	return found
}

var fqName = regexp.MustCompile(`fqName: "([^"]+)"`)
