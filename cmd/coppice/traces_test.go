package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/spantest"
)

// What is done for a request is one trace, which goes on with the client's: a fork has all its phases.
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
	ask := func(trace, path, body string, want int) {
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
	ask(trace, "/v1/vms/"+vm.ID+"/fork", `{"count": 1}`, http.StatusOK)
	spans := collector.Await(t, trace, time.Minute, topIsThere)
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
	captures := map[string]bool{}
	for _, s := range spans {
		if s.Name != "vm.capture" && s.Attributes["coppice.capture.id"] != "" {
			captures[s.Attributes["coppice.capture.id"]] = true
		}
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
	if len(captures) != 1 {
		t.Errorf("the child goes on from the capture that was made: %v", captures)
	}

	// Who comes to a VM that sleeps has its wake in his trace.
	if _, err := c.Suspend(t.Context(), vm.ID); err != nil {
		t.Fatal(err)
	}
	const waking, refused = "11111111111111111111111111111111", "22222222222222222222222222222222"
	ask(waking, "/v1/vms/"+vm.ID+"/exec-await", `{"command": "true"}`, http.StatusOK)
	woken := spantest.Tree(collector.Await(t, waking, time.Minute, topIsThere))
	if !strings.HasPrefix(woken, "POST /v1/vms/{vm_id}/exec-await\n  vm.resume\n    files\n") {
		t.Errorf("the trace of a wake is\n%s", woken)
	}

	// What is refused says with what code; that is no failure of the daemon's.
	if _, err := c.Delete(t.Context(), vm.ID); err != nil {
		t.Fatal(err)
	}
	ask(refused, "/v1/vms/"+vm.ID+"/fork", `{}`, http.StatusGone)
	if s := collector.Await(t, refused, time.Minute, topIsThere)[0]; s.Attributes["error.type"] != string(coppice.CodeVMDeleted) || s.Failed {
		t.Errorf("what was refused is %+v", s)
	}

	// To read the metrics leaves no trace: the next request is the next span.
	before := len(collector.All())
	if status, _ := scrape(t, way); status != http.StatusOK {
		t.Fatal(status)
	}
	const last = "33333333333333333333333333333333"
	ask(last, "/v1/vms/"+vm.ID+"/fork", `{}`, http.StatusGone)
	collector.Await(t, last, time.Minute, topIsThere)
	if spans := collector.All()[before:]; len(spans) != 1 {
		t.Errorf("since then there are %+v", spans)
	}
}

// topIsThere reports whether the span of a request has come, which ends last.
func topIsThere(spans []spantest.Span) bool { return strings.Contains(spantest.Tree(spans), "POST") }
