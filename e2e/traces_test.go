package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/internal/spantest"
)

// Whoever has a collector sees how long each phase of a fork took.
func TestTraceOfAFork(t *testing.T) {
	collector := spantest.New(t)
	os.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	killDaemon(t)
	restartDaemon(t)
	defer func() {
		os.Unsetenv("OTEL_EXPORTER_OTLP_ENDPOINT")
		killDaemon(t)
		restartDaemon(t)
	}()
	c := connect(t)
	vm := create(t, c)
	credentials, err := install.data.ReadCredentials()
	if err != nil {
		t.Fatal(err)
	}
	const trace = "0af7651916cd43dd8448eb211c80319c"
	r, err := http.NewRequestWithContext(deadline(t), "POST", credentials.URL+"/v1/vms/"+vm+"/fork", strings.NewReader(`{"count": 2}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+credentials.Key)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var forked api.Forked
	if err := json.NewDecoder(resp.Body).Decode(&forked); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", resp.Status, err)
	}
	for _, child := range forked.Forks {
		defer remove(t, c, child.ID)
	}
	spans := collector.Await(t, trace, callDeadline, func(spans []spantest.Span) bool {
		return strings.Contains(spantest.Tree(spans), "POST")
	})
	const child = `  vm.restore
    files
    network
    process
    guest
    sync
`
	want := "POST /v1/vms/{vm_id}/fork\n  vm.capture\n    capture\n      pause\n" + child + child
	if got := spantest.Tree(spans); got != want {
		t.Errorf("the trace is\n%s\nwant\n%s", got, want)
	}
	if err := spantest.CheckTimes(spans); err != nil {
		t.Error(err)
	}
}
