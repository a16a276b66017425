package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/spantest"
)

// A fork is one trace, which goes on with the client's and has all its phases.
func TestTraceOfAFork(t *testing.T) {
	collector := spantest.New(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10") // milliseconds
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=trial")
	way := serveTwin(t, t.TempDir())
	c, err := client.New(way.URL, way.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	vm, err := c.Create(t.Context(), api.CreateVM{})
	if err != nil {
		t.Fatal(err)
	}
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	ask := func(path, body string, want int) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "POST", way.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+way.Key)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Traceparent", "00-"+trace+"-"+parent+"-01")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Fatalf("%s: %s", path, resp.Status)
		}
	}
	ask("/v1/vms/"+vm.ID+"/fork", `{"count": 1}`, http.StatusOK)
	spans := collector.Await(t, trace, time.Minute, func(spans []spantest.Span) bool {
		return strings.Contains(spantest.Tree(spans), "POST")
	})
	const want = `POST /v1/vms/{vm_id}/fork
  vm.capture
    capture
      pause
  vm.restore
    files
    network
    process
    guest
    sync
`
	if got := spantest.Tree(spans); got != want {
		t.Errorf("the trace is\n%s\nwant\n%s", got, want)
	}
	if err := spantest.CheckTimes(spans); err != nil {
		t.Error(err)
	}
	for _, s := range spans {
		if s.Attributes["service.name"] != "coppice" || s.Attributes["service.version"] != "test" || s.Attributes["deployment.environment"] != "trial" || s.Failed {
			t.Errorf("%+v", s)
		}
		switch s.Name {
		case "POST /v1/vms/{vm_id}/fork":
			if s.Parent != parent || s.Attributes["http.response.status_code"] != "200" {
				t.Errorf("%+v", s)
			}
		case "vm.capture":
			if s.Attributes["coppice.vm.id"] != vm.ID {
				t.Errorf("%+v", s)
			}
		}
	}
}
