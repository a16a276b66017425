package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every query of the dashboard is about something that a daemon at work says.
func TestDashboardOfMetrics(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	if _, err := c.Suspend(deadline(t), vm); err != nil {
		t.Fatal(err)
	}
	sh(t, c, vm, "true")
	text := scrape(t)
	for _, line := range []string{
		`(?m)^coppice_wakes_total\{cause="exec"\} [1-9]`,
		`(?m)^coppice_verb_seconds_count\{outcome="worked",phase="pause",verb="suspend"\} [1-9]`,
		`(?m)^coppice_verb_seconds_sum\{outcome="worked",phase="guest",verb="resume"\} [0-9.]*[1-9]`,
		`(?m)^coppice_vms\{state="running",verb="none"\} [1-9]`,
		`(?m)^coppice_vm_memory_bytes\{kind="own"\} [1-9]`,
		`(?m)^coppice_stored_bytes\{kind="own"\} [1-9]`,
		`(?m)^coppice_pool_free_bytes [1-9]`,
		`(?m)^coppice_host_memory_free_bytes [1-9]`,
	} {
		if !regexp.MustCompile(line).MatchString(text) {
			t.Errorf("there is no %s in\n%s", line, text)
		}
	}

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	b, err := os.ReadFile("../deploy/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&dashboard); err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`\b(coppice|process|go)_\w+`)
	label := regexp.MustCompile(`(\w+)!?=~?"|by \(([\w, ]+)\)`)
	queries := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			names := name.FindAllString(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s: what is %s about?", panel.Title, target.Expr)
			}
			var labels []string
			for _, m := range label.FindAllStringSubmatch(target.Expr, -1) {
				labels = append(labels, strings.Split(m[1]+m[2], ", ")...)
			}
			for _, n := range names {
				queries++
				series := regexp.MustCompile(`(?m)^` + n + `[{ ].*$`).FindString(text)
				if series == "" {
					t.Errorf("%s: the daemon says nothing of %s", panel.Title, n)
				}
				for _, l := range labels {
					if l != "instance" && !regexp.MustCompile(`[{,]`+l+`="`).MatchString(series) { // that one is Prometheus's
						t.Errorf("%s: %s has no label %s", panel.Title, n, l)
					}
				}
			}
		}
	}
	if queries < 20 {
		t.Errorf("the dashboard has only %d queries", queries)
	}
}

// scrape reads the daemon's metrics.
func scrape(t *testing.T) string {
	t.Helper()
	credentials, err := install.data.ReadCredentials()
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(deadline(t), "GET", credentials.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+credentials.Key)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %s: %s", err, resp.Status, text)
	}
	return string(text)
}
