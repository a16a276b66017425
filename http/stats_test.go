package http

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// A stream has one event at once, one after each interval, and ends when the VM does.
func TestStats(t *testing.T) {
	for _, c := range []struct {
		query string
		every time.Duration
	}{
		{"", time.Second}, {"?interval_ms=2500", 2500 * time.Millisecond},
		{"?interval_ms=0", 100 * time.Millisecond}, {"?interval_ms=-1", 100 * time.Millisecond}, {"?interval_ms=99999", 10 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			vms := newFakeVMs(t.TempDir())
			s := newServer(t, vms, newPeople(), io.Discard)
			id := vms.add(coppice.VM{State: coppice.Suspended})
			r := httptest.NewRequestWithContext(t.Context(), "GET", fmt.Sprintf("/v1/vms/%s/stats/stream%s", id, c.query), nil)
			r.Header.Set("Authorization", "Bearer alice-key")
			w := httptest.NewRecorder()
			ended := make(chan bool)
			go func() {
				defer close(ended)
				s.ServeHTTP(w, r)
			}()
			time.Sleep(2*c.every + c.every/2)
			synctest.Wait()
			if got := strings.Count(w.Body.String(), "event: stats\ndata: {"); got != 3 || w.Header().Get("Content-Type") != "text/event-stream" {
				t.Errorf("%s: %d events after two and a half intervals: %q", c.query, got, w.Body)
			}
			if _, err := vms.Delete(t.Context(), alice, id); err != nil {
				t.Fatal(err)
			}
			<-ended
			if len(vms.uses) != 0 {
				t.Errorf("it counts as a use: %q", vms.uses)
			}
		})
	}
}

func TestStatsSay(t *testing.T) {
	h := newHarness(t)
	id := h.vms.add(coppice.VM{Size: coppice.Size{VCPUs: 2, MemoryMiB: 3, DiskMiB: 4}})
	h.vms.stats = coppice.Stats{
		At: began, Work: coppice.Work{CPU: 1500 * time.Millisecond, Read: 1, Written: 2},
		Memory: coppice.Footprint{Own: 3, Shared: 4}, Disk: coppice.Footprint{Own: 5, Shared: 6}, Traffic: coppice.Traffic{Sent: 7, Received: 8},
	}
	var got api.Stats
	err := h.client().Stats(t.Context(), string(id), 0, func(s api.Stats) error {
		got = s
		_, err := h.vms.Delete(t.Context(), alice, id)
		return err
	})
	want := api.Stats{VMID: string(id), At: began, State: api.Running, InstanceID: string(h.vms.rows[id].Instance)}
	want.CPU.Count, want.CPU.UsedSeconds = 2, 1.5
	want.Memory.SizeBytes, want.Memory.Footprint = 3<<20, api.Footprint{OwnBytes: 3, SharedBytes: 4}
	want.Disk.SizeBytes, want.Disk.Footprint = 4<<20, api.Footprint{OwnBytes: 5, SharedBytes: 6}
	want.Disk.ReadBytes, want.Disk.WrittenBytes = 1, 2
	want.Network.SentBytes, want.Network.ReceivedBytes = 7, 8
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if a := h.do("GET", "/v1/vms/"+string(id)+"/stats/stream?interval_ms=often", ""); a.status != 400 || a.code() != "INVALID_REQUEST" {
		t.Errorf("%d %s", a.status, a.body)
	}
}
