package http

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

func TestHistory(t *testing.T) {
	h := newHarness(t)
	id := h.vms.add(coppice.VM{})
	other := h.vms.add(coppice.VM{Account: "bob"})
	for _, e := range []coppice.Event{
		{VM: id, Verb: coppice.Restore, State: coppice.Running, At: began, Took: 1500 * time.Microsecond},
		{VM: other, Verb: coppice.Restore, State: coppice.Running},
		{VM: id, Verb: coppice.Suspend, State: coppice.Running, Failed: true, Reason: "full"},
		{VM: id, Verb: coppice.Kill, State: coppice.Failed, Failed: true, Reason: "signal 9"},
		{VM: id, Verb: coppice.Delete, State: coppice.Absent},
	} {
		h.vms.happen(e)
	}
	got, err := h.client().History(t.Context(), string(id), 0)
	want := []api.Event{
		{ID: 1, At: began, VMID: string(id), Event: "created", State: api.Running, TookMs: 1.5},
		{ID: 3, VMID: string(id), Event: "suspend-failed", State: api.Running, Reason: "full"},
		{ID: 4, VMID: string(id), Event: "lost", State: api.Lost, Reason: "signal 9"},
		{ID: 5, VMID: string(id), Event: "deleted"},
	}
	if diff := cmp.Diff(want, got.Events); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if got, err := h.client().History(t.Context(), string(id), 3); err != nil || len(got.Events) != 2 {
		t.Errorf("after the third: %+v, %v", got, err)
	}
	if _, err := h.client().History(t.Context(), string(other), 0); coppice.CodeOf(err) != coppice.CodeVMNotFound {
		t.Errorf("another's: %v", err)
	}
	for _, verb := range append(coppice.Verbs, coppice.Idle) {
		if done[verb] == "" {
			t.Errorf("nothing says what %q has done", verb)
		}
	}
}

// A stream begins now, or after the event that the client has, and has nothing twice.
func TestEvents(t *testing.T) {
	h := newHarness(t)
	id := h.vms.add(coppice.VM{})
	h.vms.happen(coppice.Event{VM: id, Verb: coppice.Restore, State: coppice.Running})
	enough := errors.New("enough")
	follow := func(after int64, n int) (ids []int64) {
		t.Helper()
		err := h.client().Events(t.Context(), after, func(e api.Event) error {
			if ids = append(ids, e.ID); len(ids) == n {
				return enough
			}
			return nil
		}, func() { h.vms.happen(coppice.Event{VM: id, Verb: coppice.Stop, State: coppice.Stopped}) })
		if !errors.Is(err, enough) {
			t.Fatal(err)
		}
		return ids
	}
	if got := follow(0, 1); !cmp.Equal(got, []int64{2}) {
		t.Errorf("from now on: %v", got)
	}
	if got := follow(1, 2); !cmp.Equal(got, []int64{2, 3}) {
		t.Errorf("after the first: %v", got)
	}
	if a := h.do("GET", "/v1/events", "", "Last-Event-ID: last"); a.status != 400 || a.code() != "INVALID_REQUEST" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestEventsHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vms := newFakeVMs(t.TempDir())
		s := newServer(t, vms, newPeople(), io.Discard)
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, "GET", "/v1/events", nil)
		r.Header.Set("Authorization", "Bearer alice-key")
		w := httptest.NewRecorder()
		ended := make(chan any)
		go func() {
			defer func() { ended <- recover() }()
			s.ServeHTTP(w, r)
		}()
		time.Sleep(50 * time.Second)
		vms.happen(coppice.Event{VM: vms.add(coppice.VM{ID: "vvvvvvvvvvvvvvvvvvvv"}), Verb: coppice.Start, State: coppice.Running, At: began})
		synctest.Wait()
		cancel()
		if p := <-ended; p != http.ErrAbortHandler {
			t.Errorf("it ended with %v", p)
		}
		want := ":\n\n:\n\n:\n\nid: 1\nevent: started\n" +
			`data: {"id":1,"at":"` + began.Format(time.RFC3339Nano) + `","vmId":"vvvvvvvvvvvvvvvvvvvv","event":"started","state":"running","tookMs":0}` + "\n\n"
		if w.Body.String() != want || w.Header().Get("Content-Type") != "text/event-stream" {
			t.Errorf("%q, want %q", w.Body.String(), want)
		}
	})
}
