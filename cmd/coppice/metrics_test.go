package main

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/host"
)

// scrape reads the metrics of a daemon as the bearer of a key.
func scrape(t *testing.T, c host.Credentials) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", c.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.Key)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// What is done to VMs, by whichever way, is counted, for the host's operator only.
func TestMetrics(t *testing.T) {
	credentials := serveTwin(t, t.TempDir())
	c, err := client.New(credentials.URL, credentials.Key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx := t.Context()
	vm, err := c.Create(ctx, api.CreateVM{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Suspend(ctx, vm.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Files(vm.ID, "").Open(ctx, "."); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fork(ctx, vm.ID, api.ForkVM{Count: new(2)}); err != nil {
		t.Fatal(err)
	}
	status, text := scrape(t, credentials)
	for _, line := range []string{
		`coppice_vms{state="running",verb="none"} 3`,
		`coppice_wakes_total{cause="files"} 1`,
		`coppice_verb_seconds_count{outcome="worked",phase="all",verb="suspend"} 1`,
		`coppice_verb_seconds_count{outcome="worked",phase="pause",verb="suspend"} 1`,
		`coppice_verb_seconds_count{outcome="worked",phase="guest",verb="resume"} 1`,
		`coppice_verb_seconds_count{outcome="worked",phase="capture",verb="capture"} 2`, // with the template's
		`coppice_api_requests_total{method="POST",route="/v1/vms",status="200"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%d: there is no %s in\n%s", status, line, ours.FindAllString(text, -1))
		}
	}
	page, err := os.ReadFile("../../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	served := distinct(regexp.MustCompile(`phase="(\w+)"`), text)
	listed := distinct(regexp.MustCompile("(?m)^\\| `([a-z]+)` \\|"), string(page)+"\n| `all` |") // of which the text says what it is
	if !slices.Equal(served, listed) {
		t.Errorf("there are the phases %q, and the page lists %q", served, listed)
	}

	bob, err := c.CreateAccount(ctx, "bob")
	if err != nil {
		t.Fatal(err)
	}
	if status, text := scrape(t, host.Credentials{URL: credentials.URL, Key: bob.Secret}); status != http.StatusForbidden {
		t.Errorf("for whom does not manage accounts: %d %s", status, text)
	}
}

// distinct returns what the group in re is in text, each once, in order.
func distinct(re *regexp.Regexp, text string) (found []string) {
	for _, match := range re.FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}

var ours = regexp.MustCompile("(?m)^coppice_.*\n")
