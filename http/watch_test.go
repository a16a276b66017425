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
)

func TestWatch(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []coppice.FileEvent
	err := h.client().Files(id, "").Watch(ctx, func(e coppice.FileEvent) {
		if got = append(got, e); len(got) == 2 {
			cancel()
		}
	})
	want := []coppice.FileEvent{{Type: "create", Name: "a.txt"}, {Type: "delete", Name: "ü b"}}
	if !errors.Is(err, context.Canceled) || !cmp.Equal(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	h.vms.mu.Lock()
	if h.vms.inUse != 0 || h.vms.touched < 2 {
		t.Errorf("a watch keeps the VM awake by itself (%d), or what it saw does not (%d)", h.vms.inUse, h.vms.touched)
	}
	h.vms.mu.Unlock()
	if err := h.client().Files(id, "eve").Watch(t.Context(), nil); coppice.CodeOf(err) != coppice.CodeUserNotFound {
		t.Errorf("as eve: %v", err)
	}
}

func TestWatchHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vms := newFakeVMs(t.TempDir())
		s := newServer(t, vms, newPeople(), io.Discard)
		r := httptest.NewRequest("POST", "/v1/vms/"+string(vms.add(coppice.VM{}))+"/watch-files", nil)
		r.Header.Set("Authorization", "Bearer alice-key")
		w := httptest.NewRecorder()
		ended := make(chan any)
		go func() {
			defer func() { ended <- recover() }()
			s.ServeHTTP(w, r)
		}()
		time.Sleep(119 * time.Second)
		s.leave(errLeaving)
		if p := <-ended; p != http.ErrAbortHandler {
			t.Errorf("it ended with %v", p)
		}
		if want := "\n" + `{"eventType":"create","filename":"a.txt"}` + "\n" + `{"eventType":"delete","filename":"ü b"}` + "\n\n\n\n\n\n"; w.Body.String() != want {
			t.Errorf("%q", w.Body.String())
		}
	})
}
