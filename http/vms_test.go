package http

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

// What the contract's clients send to make a VM, and what of it reaches lifecycle.
// What cannot be given is refused before anything is made, and the refusal says what.
// An error of lifecycle reaches the client as it was: code, sentence, fields.
func TestErrorsReachTheClient(t *testing.T) {
	h := newHarness(t)
	h.vms.fail = coppice.Errorf(coppice.CodeMemRange, "memory is between 256 and 8192 MiB").With("got", 100).With("min", 256).With("max", 8192)
	_, err := h.client().Create(t.Context(), api.CreateVM{})
	e, ok := errors.AsType[*coppice.Error](err)
	if !ok {
		t.Fatal(err)
	}
	want := map[string]any{"got": 100.0, "min": 256.0, "max": 8192.0}
	if e.Code != coppice.CodeMemRange || e.Message != "memory is between 256 and 8192 MiB" || !cmp.Equal(e.Fields, want) {
		t.Errorf("%+v", e)
	}
}

// The life of a VM, by the Go client.
func TestLife(t *testing.T) {
	h := newHarness(t)
	c, ctx := h.client(), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	who, err := c.WhoAmI(ctx)
	must(err)
	if who.AccountID != string(alice) {
		t.Errorf("who am I: %+v", who)
	}
	created, err := c.Create(ctx, api.CreateVM{VMSpec: api.VMSpec{Name: new("box"), MemSizeGb: new(0.5), IdleTimeoutSeconds: api.IdleTimeout{Set: true}}})
	must(err)
	if got := h.vms.created; got.Name != "box" || got.Size.MemoryMiB != 512 || got.IdleTimeout == nil || *got.IdleTimeout != 0 {
		t.Errorf("created %+v", got)
	}
	_, err = c.Start(ctx, created.ID, api.StartVM{})
	must(err)
	if h.vms.started.IdleTimeout != nil {
		t.Error("a start without an idle timeout sets one")
	}
	_, err = c.Start(ctx, created.ID, api.StartVM{IdleTimeoutSeconds: api.IdleTimeout{Set: true, Seconds: new(1.5)}})
	must(err)
	if d := h.vms.started.IdleTimeout; d == nil || *d != 1500*time.Millisecond {
		t.Errorf("idle timeout %v", d)
	}
	stopped, err := c.Stop(ctx, created.ID)
	must(err)
	if stopped.VMID != created.ID || stopped.VMInstanceID == "" {
		t.Errorf("stopped %+v", stopped)
	}
	vm, err := c.VM(ctx, created.ID)
	must(err)
	if vm.State != api.Stopped || vm.Name != "box" || vm.Sizing.MemSizeMiB != 512 || !vm.CreatedAt.Equal(began) {
		t.Errorf("%+v", vm)
	}
	_, err = c.Exec(ctx, created.ID, coppice.ExecSpec{Command: "true"}, coppice.Stdio{})
	if coppice.CodeOf(err) != coppice.CodeVMNotRunning {
		t.Errorf("exec in a stopped VM: %v", err)
	}
	_, err = c.Kill(ctx, created.ID)
	must(err)
	console, err := c.Console(ctx, created.ID)
	must(err)
	if !strings.Contains(string(console), "Linux \xff\r\n") {
		t.Errorf("console %q", console)
	}
	h.vms.exits <- coppice.Exit{Kind: coppice.ExitPanic, Detail: "oops"}
	exited, err := c.Await(ctx, created.ID)
	must(err)
	if exited != (api.Exited{ID: created.ID, ExitStatus: "panic", Detail: "oops"}) {
		t.Errorf("%+v", exited)
	}
	deleted, err := c.Delete(ctx, created.ID)
	must(err)
	if deleted.ID != created.ID {
		t.Errorf("%+v", deleted)
	}
	if _, err = c.VM(ctx, created.ID); coppice.CodeOf(err) != coppice.CodeVMDeleted {
		t.Errorf("a deleted VM: %v", err)
	}
	health, err := c.Health(ctx)
	must(err)
	if health.Version != "test" {
		t.Errorf("%+v", health)
	}
}

func TestList(t *testing.T) {
	h := newHarness(t)
	c := h.client()
	if a := h.do("GET", "/v1/vms", ""); !strings.Contains(a.body, `"vms":[]`) {
		t.Errorf("no VMs: %s", a.body)
	}
	h.vms.add(coppice.VM{Account: bob})
	for _, vm := range []coppice.VM{
		{Name: "one-box"},
		{Name: "Two-box", State: coppice.Stopped},
		{Name: "three", State: coppice.Suspended, IdleTimeout: time.Minute, Activity: coppice.Activity{At: began}},
		{Name: "four", State: coppice.Stopped, Verb: coppice.Start},
		{Name: "five", State: coppice.Running, Verb: coppice.Suspend},
		{Name: "six", State: coppice.Failed, Reason: "the process ended"},
		{Name: "gone", State: coppice.Absent, DeletedAt: began},
	} {
		h.vms.add(vm)
	}
	for _, q := range []struct {
		query client.Query
		names string
		total int
	}{
		{client.Query{}, "one-box Two-box three four five six", 6},
		{client.Query{Deleted: true}, "one-box Two-box three four five six gone", 7},
		{client.Query{Limit: 2}, "one-box Two-box", 6},
		{client.Query{Limit: 2, Offset: 3}, "four five", 6},
		{client.Query{Offset: 9}, "", 6},
		{client.Query{State: api.Stopped}, "Two-box", 1},
		{client.Query{State: api.Starting}, "four", 1},
		{client.Query{State: api.Lost}, "six", 1},
		{client.Query{Search: "TWO-"}, "Two-box", 1},
		{client.Query{Search: "-box", Limit: 1}, "one-box", 2},
	} {
		list, err := c.VMs(t.Context(), q.query)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, vm := range list.VMs {
			names = append(names, vm.Name)
		}
		if strings.Join(names, " ") != q.names || list.TotalCount != q.total {
			t.Errorf("%+v: %v of %d", q.query, names, list.TotalCount)
		}
	}
	list, err := c.VMs(t.Context(), client.Query{Deleted: true})
	if err != nil {
		t.Fatal(err)
	}
	counts := []int{list.RunningCount, list.StartingCount, list.SuspendingCount, list.SuspendedCount, list.StoppedCount, list.LostCount}
	if !cmp.Equal(counts, []int{1, 1, 1, 1, 1, 1}) {
		t.Errorf("counts %v", counts)
	}
	if vm := list.VMs[5]; vm.Reason != "the process ended" {
		t.Errorf("%+v", vm)
	}
	if vm := list.VMs[2]; vm.ReclaimAt != nil || vm.LastNetworkActivity == nil || !vm.LastNetworkActivity.Equal(began) {
		t.Errorf("a suspended VM: %+v", vm)
	}
	if vm := list.VMs[2]; vm.IdleTimeoutSeconds == nil || *vm.IdleTimeoutSeconds != 60 {
		t.Errorf("%+v", vm)
	}
	for _, query := range []string{"?limit=0", "?limit=x", "?offset=-1", "?vmState=asleep", "?includeDeleted=perhaps"} {
		if a := h.do("GET", "/v1/vms"+query, ""); a.status != 400 || a.code() != "INVALID_REQUEST" {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
}

// Every cell of the state a user sees.
func TestStates(t *testing.T) {
	idle := map[coppice.State]api.State{
		coppice.Absent:    api.Stopped, // of a tombstone
		coppice.Running:   api.Running,
		coppice.Suspended: api.Suspended,
		coppice.Stopped:   api.Stopped,
		coppice.Failed:    api.Lost,
	}
	inFlight := map[coppice.Verb]api.State{
		coppice.Restore: api.Starting,
		coppice.Start:   api.Starting,
		coppice.Resume:  api.Starting,
		coppice.Reboot:  api.Starting,
		coppice.Suspend: api.Suspending,
	}
	for _, state := range coppice.States {
		for _, verb := range append(coppice.Verbs, coppice.Idle) {
			want, ok := inFlight[verb]
			if !ok || state == coppice.Failed {
				want = idle[state]
			}
			if got := stateOf(state, verb); got != want {
				t.Errorf("(%s,%s) shows %s, not %s", state, verb, got, want)
			}
		}
	}
}

// Shutdown ends what waits for something to happen, and lets the rest finish.
// What does not finish in time is cut off.
func TestHealth(t *testing.T) {
	h := newHarness(t)
	h.server.config.Ready = func(context.Context) error { return errors.New("3 VMs are being settled") }
	if a := h.do("GET", "/healthz", "", "Authorization:"); a.status != 503 || a.code() != "SERVICE_UNAVAILABLE" || !strings.Contains(a.body, "settled") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
