package http

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// Who works inside a VM keeps it in use meanwhile, and not longer; who looks at
// it from outside does not.
func TestWhatUsesAVM(t *testing.T) {
	vms := newFakeVMs(t.TempDir())
	s := newServer(t, vms, newPeople(), io.Discard)
	id := string(vms.add(coppice.VM{}))
	for _, call := range []struct{ method, path, body string }{
		{"GET", "", ""},
		{"GET", "/console", ""},
		{"POST", "/exec-await", `{"command":"true"}`},
		{"POST", "/exec-await", `{"command":" "}`},
		{"PUT", "/files/note", `{"content":"aGk=","encoding":"base64"}`},
		{"GET", "/files/note", ""},
		{"GET", "/files/missing", ""},
		{"GET", "/forward/1", ""},
	} {
		r := httptest.NewRequest(call.method, "/v1/vms/"+id+call.path, strings.NewReader(call.body))
		r.Header.Set("Authorization", "Bearer alice-key")
		r.Header.Set("Content-Type", "application/json")
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
	if want := []string{"exec", "files", "files", "files", "forward"}; !cmp.Equal(vms.uses, want) || vms.inUse != 0 {
		t.Errorf("uses %v, want %v; %d have not ended", vms.uses, want, vms.inUse)
	}
}

// A VM that runs says when it is reclaimed.
func TestReclaimAt(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{IdleTimeout: time.Minute, Activity: coppice.Activity{At: began, Idle: 20 * time.Second}}))
	vm, err := h.client().VM(t.Context(), id)
	if err != nil || vm.ReclaimAt == nil {
		t.Fatalf("%+v, %v", vm, err)
	}
	if left := time.Until(*vm.ReclaimAt); left < 35*time.Second || left > 40*time.Second {
		t.Errorf("it is reclaimed in %v", left)
	}
}
