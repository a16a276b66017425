package metrics

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/coppice-vm/coppice"
)

// read returns the lines that a recorder serves.
func read(t *testing.T, r *Recorder, status int) (lines []string) {
	t.Helper()
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != status {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for line := range strings.Lines(w.Body.String()) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	return lines
}

func want(t *testing.T, lines []string, wanted ...string) {
	t.Helper()
	all := "\n" + strings.Join(lines, "\n") + "\n"
	for _, line := range wanted {
		if !strings.Contains(all, "\n"+line+"\n") {
			t.Errorf("there is no %s in:%s", line, all)
		}
	}
}

// count has a recorder count something of everything there is.
func count(r *Recorder, take func(context.Context) (coppice.Census, error)) {
	r.Did(coppice.Restore, "", 20*time.Millisecond, nil)
	r.Did(coppice.Restore, "process", 15*time.Millisecond, nil)
	r.Did(coppice.Restore, "", time.Second, errors.New("no"))
	r.Woke("exec")
	r.Woke("exec")
	r.Evicted()
	r.Answered("GET", "/v1/vms/{vm_id}", 200, 3*time.Millisecond)
	r.Answered("FROBNICATE", "", 405, time.Millisecond)
	r.Answered("FROB", "", 405, time.Millisecond)
	r.Watch(take)
}

func TestRecorder(t *testing.T) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r := New("1.2.3", log)
	census, failure := coppice.Census{
		VMs:    map[coppice.Standing]int{{State: coppice.Running}: 3, {State: coppice.Stopped, Verb: coppice.Start}: 1},
		Spares: 2, Husks: 1,
		Memory:   coppice.Footprint{Own: 1, Shared: 2},
		Disk:     coppice.Footprint{Own: 3, Shared: 4},
		Capacity: coppice.Capacity{MemoryMiB: 4, FreeMemoryMiB: 3, StorageMiB: 2, FreeStorageMiB: 1},
	}, error(nil)
	count(r, func(context.Context) (coppice.Census, error) { return census, failure })
	lines := read(t, r, 200)
	problems, err := promlint.New(strings.NewReader(strings.Join(lines, "\n") + "\n")).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	want(t, lines,
		`coppice_build_info{version="1.2.3"} 1`,
		`coppice_verb_seconds_count{outcome="worked",phase="all",verb="restore"} 1`,
		`coppice_verb_seconds_bucket{outcome="worked",phase="process",verb="restore",le="0.01"} 0`,
		`coppice_verb_seconds_bucket{outcome="worked",phase="process",verb="restore",le="0.025"} 1`,
		`coppice_verb_seconds_sum{outcome="failed",phase="all",verb="restore"} 1`,
		`coppice_wakes_total{cause="exec"} 2`,
		`coppice_evictions_total 1`,
		`coppice_api_requests_total{method="GET",route="/v1/vms/{vm_id}",status="200"} 1`,
		`coppice_api_requests_total{method="",route="",status="405"} 2`,
		`coppice_api_answer_seconds_bucket{method="GET",route="/v1/vms/{vm_id}",le="0.0025"} 0`,
		`coppice_api_answer_seconds_bucket{method="GET",route="/v1/vms/{vm_id}",le="0.005"} 1`,
		`coppice_api_answer_seconds_count{method="",route=""} 2`,
		`coppice_vms{state="running",verb="none"} 3`,
		`coppice_vms{state="stopped",verb="start"} 1`,
		`coppice_vms{state="stopped",verb="none"} 0`,
		`coppice_vms{state="failed",verb="none"} 0`,
		`coppice_ready{kind="spare"} 2`,
		`coppice_ready{kind="husk"} 1`,
		`coppice_vm_memory_bytes{kind="own"} 1`,
		`coppice_vm_memory_bytes{kind="shared"} 2`,
		`coppice_stored_bytes{kind="own"} 3`,
		`coppice_stored_bytes{kind="shared"} 4`,
		`coppice_host_memory_bytes 4.194304e+06`,
		`coppice_host_memory_free_bytes 3.145728e+06`,
		`coppice_pool_bytes 2.097152e+06`,
		`coppice_pool_free_bytes 1.048576e+06`,
	)

	failure = errors.New("disk I/O error")
	if lines := read(t, r, 500); !strings.Contains(strings.Join(lines, "\n"), "disk I/O error") {
		t.Errorf("a census that failed: %q", lines)
	}
}
