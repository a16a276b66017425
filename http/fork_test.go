package http

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// What the contract's clients send to fork a VM, and what of it reaches lifecycle.
func TestFork(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	ephemeral := &coppice.Persistence{Type: coppice.Ephemeral, DeleteEvent: coppice.OnSuspend}
	for _, c := range []struct {
		body string
		want coppice.ForkSpec
	}{
		{"", coppice.ForkSpec{Count: 1}},
		{"{}", coppice.ForkSpec{Count: 1}},
		{`{"count":null,"persistence":null,"name":null,"start":null}`, coppice.ForkSpec{Count: 1}},
		{`{"count":2,"persistence":{"type":"ephemeral"}}`, coppice.ForkSpec{Count: 2, Persistence: ephemeral}},
		{`{"count":100,"new":"member"}`, coppice.ForkSpec{Count: 100}},
		{`{"count":1,"idleTimeoutSeconds":5,"name":"z"}`, coppice.ForkSpec{Count: 1, Name: "z", IdleTimeout: new(5 * time.Second)}},
		{`{"idleTimeoutSeconds":null}`, coppice.ForkSpec{Count: 1, IdleTimeout: new(time.Duration(0))}},
		{`{"start":false}`, coppice.ForkSpec{Count: 1, LeaveStopped: true}},
		{`{"start":true}`, coppice.ForkSpec{Count: 1}},
	} {
		a := h.do("POST", "/v1/vms/"+id+"/fork", c.body)
		if a.status != 200 || !strings.Contains(a.body, `"domains":[]`) || !strings.Contains(a.body, `"consoleUrl":null`) || strings.Contains(a.body, "errors") {
			t.Errorf("%s: %d %s", c.body, a.status, a.body)
		}
		if diff := cmp.Diff(c.want, h.vms.forked); diff != "" {
			t.Errorf("%s: -want +got\n%s", c.body, diff)
		}
	}
	h.vms.forked = coppice.ForkSpec{}
	for _, body := range []string{
		`{"count":0}`, `{"count":101}`, `{"count":-1}`, `{"count":1.5}`, `{"count":"2"}`, `{"start":"yes"}`,
		`{"persistence":{"type":"forever"}}`, `{"persistence":{"type":"persistent","priority":3}}`, `{"idleTimeoutSeconds":0}`,
	} {
		if a := h.do("POST", "/v1/vms/"+id+"/fork", body); a.status != 400 || a.code() != "INVALID_REQUEST" {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if h.vms.forked.Count != 0 {
		t.Errorf("a refused fork was made: %+v", h.vms.forked)
	}
}

// What worked stays, and what failed says why; a fork of which nothing is left
// is one that failed.
func TestForkPartly(t *testing.T) {
	h := newHarness(t)
	c := h.client()
	id := string(h.vms.add(coppice.VM{}))
	full := coppice.Errorf(coppice.CodeNoStorage, "the pool is full").Because(errors.New("secret"))
	inside := errors.New("secret")

	h.vms.forkErrors = []error{nil, full, nil, inside}
	forked, err := c.Fork(t.Context(), id, api.ForkVM{Count: new(5)})
	if err != nil {
		t.Fatal(err)
	}
	if forked.VMID != id || len(forked.Forks) != 3 || len(forked.Errors) != 2 {
		t.Errorf("%+v", forked)
	}
	for _, f := range forked.Forks {
		if vm, err := c.VM(t.Context(), f.ID); err != nil || vm.State != api.Running {
			t.Errorf("%+v, %v", vm, err)
		}
	}
	if e := forked.Errors[0]; e != (api.ForkError{Code: "NO_LOCAL_STORAGE_CAPACITY", Message: "the pool is full"}) {
		t.Errorf("%+v", e)
	}
	if e := forked.Errors[1]; e.Code != "INTERNAL_ERROR" || strings.Contains(e.Message, "secret") {
		t.Errorf("%+v", e)
	}

	h.vms.forkErrors = []error{full, inside}
	if _, err := c.Fork(t.Context(), id, api.ForkVM{Count: new(2)}); coppice.CodeOf(err) != coppice.CodeNoStorage {
		t.Errorf("all failed: %v", err)
	}
}

func TestSuspend(t *testing.T) {
	h := newHarness(t)
	c := h.client()
	id := h.vms.add(coppice.VM{})
	suspended, err := c.Suspend(t.Context(), string(id))
	if err != nil {
		t.Fatal(err)
	}
	if suspended.ID != string(id) || suspended.VMInstanceID != string(h.vms.rows[id].Instance) || !coppice.CaptureID(suspended.SnapshotLayerID).Valid() {
		t.Errorf("%+v", suspended)
	}
	if vm, err := c.VM(t.Context(), string(id)); err != nil || vm.State != api.Suspended {
		t.Errorf("%+v, %v", vm, err)
	}
}

func TestOptimize(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	done, err := h.client().Optimize(t.Context(), id)
	if err != nil || done != (api.OptimizedVM{ID: id, Message: "nothing to do"}) {
		t.Errorf("%+v, %v", done, err)
	}
}
