package lifecycle_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/coppice-vm/coppice"
)

// limit changes alice's limits.
func (h *host) limit(change func(*coppice.Limits)) {
	h.t.Helper()
	limits := coppice.DefaultLimits
	change(&limits)
	if err := h.store.SetLimits(h.t.Context(), alice, limits); err != nil {
		h.t.Fatal(err)
	}
}

// rows returns all that is on record of alice's VMs, but for when they were used.
func (h *host) rows() string {
	h.t.Helper()
	vms, err := h.VMs(h.t.Context(), alice, true)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := range vms {
		vms[i].Activity = coppice.Activity{}
	}
	return fmt.Sprintf("%+v", vms)
}

// refused fails the test unless err is the refusal of a limit.
func (h *host) refused(what string, err error, code coppice.Code, limit, current int64) {
	h.t.Helper()
	e, ok := errors.AsType[*coppice.Error](err)
	if !ok || e.Code != code || fmt.Sprint(e.Fields["limit"], e.Fields["current"]) != fmt.Sprint(limit, current) {
		h.t.Errorf("%s: %v, want %s with limit %d and current %d", what, err, code, limit, current)
	}
}

// However many come at once, the limit holds, of each account by itself, and what
// is refused leaves nothing.
func TestFiftyCreatesAtALimitOfTen(t *testing.T) {
	h := newHost(t)
	h.limit(func(l *coppice.Limits) { l.VMs = 10 })
	var mu sync.Mutex
	var made []coppice.VMID
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			vm, err := h.Create(t.Context(), coppice.NewVM{Account: alice})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made = append(made, vm.ID)
				return
			}
			h.refused("create", err, coppice.CodeTotalVMLimit, 10, 10)
		})
	}
	wg.Wait()
	if len(made) != 10 {
		t.Errorf("%d were made, want 10", len(made))
	}
	h.clean(made...)
	if vms, err := h.VMs(t.Context(), alice, true); err != nil || len(vms) != 10 {
		t.Errorf("%d VMs are known, %v", len(vms), err)
	}
	if _, err := h.Create(t.Context(), coppice.NewVM{Account: bob}); err != nil {
		t.Errorf("bob: %v", err)
	}
}

// Whatever makes a VM run, makes one, makes one larger or keeps one is subject
// to the limits, and what is refused leaves all as it was.
func TestLimitsOfEveryVerb(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	running, stopped, suspended := h.create(), h.create(), h.create()
	h.must(h.Stop(ctx, alice, stopped.ID))
	h.must(h.Suspend(ctx, alice, suspended.ID))
	before := h.rows()

	h.limit(func(l *coppice.Limits) { l.Running = 1 })
	for _, vm := range []coppice.VM{stopped, suspended} {
		_, err := h.Start(ctx, alice, vm.ID, coppice.StartOptions{})
		h.refused("start", err, coppice.CodeVMLimit, 1, 1)
	}
	_, err := h.Fork(ctx, alice, running.ID, coppice.ForkSpec{Count: 2})
	h.refused("fork", err, coppice.CodeVMLimit, 1, 1)

	h.limit(func(l *coppice.Limits) { l.Sum = coppice.Size{VCPUs: 7, MemoryMiB: 4096, DiskMiB: 4096} })
	_, err = h.Resize(ctx, alice, running.ID, coppice.ResizeSpec{VCPUs: new(8)})
	h.refused("resize", err, coppice.CodeLimitExceeded, 7, 1)
	_, err = h.Resize(ctx, alice, running.ID, coppice.ResizeSpec{MemoryMiB: new(int64(8192))})
	h.refused("resize", err, coppice.CodeLimitExceeded, 4096, 1024)
	_, err = h.Resize(ctx, alice, stopped.ID, coppice.ResizeSpec{DiskMiB: new(int64(4096))})
	h.refused("resize", err, coppice.CodeRootfsQuota, 4096, 3072)

	h.limit(func(l *coppice.Limits) { l.Each.MemoryMiB = 1024 })
	_, err = h.Resize(ctx, alice, stopped.ID, coppice.ResizeSpec{MemoryMiB: new(int64(2048))})
	h.refused("resize", err, coppice.CodeMemOverPlan, 1024, 1024)
	_, err = h.Create(ctx, coppice.NewVM{Account: alice, Size: coppice.Size{MemoryMiB: 2048}})
	h.refused("create", err, coppice.CodeMemOverPlan, 1024, 0)

	h.limit(func(l *coppice.Limits) { l.Snapshots = 1 })
	if _, err := h.TakeSnapshot(ctx, alice, running.ID, "", coppice.Persistence{}); err != nil {
		t.Fatal(err)
	}
	_, err = h.TakeSnapshot(ctx, alice, stopped.ID, "", coppice.Persistence{})
	h.refused("snapshot", err, coppice.CodeSnapshotLimit, 1, 1)

	if after := h.rows(); after != before {
		t.Errorf("after refusals: %s\nbefore: %s", after, before)
	}
	h.clean(running.ID, stopped.ID, suspended.ID)
}

// A fork makes as many as there is room for, and says of the others why not.
func TestForkUpToALimit(t *testing.T) {
	h := newHost(t)
	parent := h.create()
	h.limit(func(l *coppice.Limits) { l.VMs = 4 })
	forks, err := h.Fork(t.Context(), alice, parent.ID, coppice.ForkSpec{Count: 5})
	if err != nil {
		t.Fatal(err)
	}
	there := []coppice.VMID{parent.ID}
	for _, f := range forks {
		if f.Err == nil {
			there = append(there, f.VM.ID)
			continue
		}
		h.refused("fork", f.Err, coppice.CodeTotalVMLimit, 4, 4)
	}
	if len(there) != 4 {
		t.Errorf("there are %d VMs, want 4", len(there))
	}
	h.clean(there...)
}

// Whoever opens a terminal meets the account's limit.
func TestTerminalLimit(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	for limit, want := range map[int]coppice.Code{0: coppice.CodeSessionCapReached, 2: coppice.CodeSessionCapReached, 3: "", coppice.NoLimit: ""} {
		limits := coppice.DefaultLimits
		limits.PTYs = limit
		if err := h.store.SetLimits(t.Context(), alice, limits); err != nil {
			t.Fatal(err)
		}
		session, release, err := h.Use(t.Context(), alice, vm.ID, "terminal")
		if err != nil {
			t.Fatal(err)
		}
		_, err = session.Terminals("").Open(t.Context(), coppice.TerminalSpec{})
		release()
		if err == nil && want == "" {
			continue
		}
		if code(err) != want {
			t.Errorf("one more than two where there may be %d: %v, want %q", limit, err, want)
		}
	}
}
