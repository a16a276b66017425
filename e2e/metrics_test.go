package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every query of the dashboard is answered by a Prometheus that reads a daemon at work.
func TestDashboardOfMetrics(t *testing.T) {
	c := connect(t)
	work := func() {
		t.Helper()
		vm := create(t, c)
		if _, err := c.Suspend(deadline(t), vm); err != nil {
			t.Fatal(err)
		}
		sh(t, c, vm, "true")
	}
	work() // rates are of what is there before and after
	ask := prometheus(t)
	work()

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
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$instance", ".+", "$__rate_interval", "1m")
	// Of what a quiet host has none, the opposite is there, by the same names.
	opposites := strings.NewReplacer(`outcome="failed"`, `outcome="worked"`, `verb!="none"`, `verb="none"`)
	queries := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries++
			query := opposites.Replace(variables.Replace(target.Expr))
			await(t, fmt.Sprintf("%s: %s has an answer", panel.Title, query), func() bool { return ask(query) })
		}
	}
	if queries < 20 {
		t.Errorf("the dashboard has only %d queries", queries)
	}
}

// prometheus starts a Prometheus that reads the daemon's metrics every second,
// as docs/METRICS.md has it. It returns when it has done so; ask says whether a
// query is answered with a number.
func prometheus(t *testing.T) (ask func(query string) bool) {
	t.Helper()
	program, err := filepath.Abs("../bin/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := install.data.ReadCredentials()
	if err != nil {
		t.Fatal(err)
	}
	daemon, err := url.Parse(credentials.URL)
	if err != nil {
		t.Fatal(err)
	}
	address, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"coppice.key": credentials.Key,
		"prometheus.yml": `global: {scrape_interval: 1s}
scrape_configs:
  - job_name: coppice
    authorization:
      credentials_file: coppice.key
    static_configs:
      - targets: ["` + daemon.Host + `"]
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address="+address)
	cmd.Dir = dir
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("Prometheus: %s", log.String())
		}
	})

	ask = func(query string) bool {
		t.Helper()
		resp, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil || resp.StatusCode == http.StatusServiceUnavailable {
			return false // it is not ready
		}
		defer resp.Body.Close()
		var answer struct {
			Error string
			Data  struct {
				Result []struct{ Value [2]any } // when, and the number as a string
			}
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Error != "" {
			t.Fatalf("%s: %v, %s", query, err, answer.Error)
		}
		for _, r := range answer.Data.Result {
			if r.Value[1] != "NaN" {
				return true
			}
		}
		return false
	}
	await(t, "Prometheus has read the metrics", func() bool { return ask("up == 1") })
	return ask
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
