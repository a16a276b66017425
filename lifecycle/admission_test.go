package lifecycle_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/lifecycle"
)

// The rule in figures: what must be free for a VM to start, and what is left.
func TestBudget(t *testing.T) {
	b := lifecycle.Budget{MemoryReserveMiB: 1000, MemoryOvercommit: 10}
	if got := b.Need(16 << 10); got != 96+1638 {
		t.Errorf("a VM of 16 GiB needs %d MiB", got)
	}
	if got := b.Left(coppice.Capacity{FreeMemoryMiB: 20000}, 50000); got != 14000 {
		t.Errorf("%d MiB are left", got)
	}
	if got := (lifecycle.Budget{}).Need(1024); got != 96+1024 {
		t.Errorf("without overcommitment a VM of 1 GiB needs %d MiB", got)
	}
}

// memory makes the host have so much free memory, in MiB, beside the reserve.
func (h *host) memory(mib int64) {
	h.gauge.Set(coppice.Capacity{MemoryMiB: 1 << 30, FreeMemoryMiB: 1024 + mib, StorageMiB: 1 << 30, FreeStorageMiB: 1 << 30})
}

const (
	kept  = 1024 / 8  // MiB for the growth of a VM of 1 GiB, by the tests' budget
	needs = 96 + kept // for one to start
)

// A VM starts only where memory is left, whatever it is that starts it, and what
// is refused leaves all as it was. A VM that runs is left alone.
func TestMemoryIsShort(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	running, stopped, suspended := h.create(), h.create(), h.create()
	h.must(h.Stop(ctx, alice, stopped.ID))
	h.must(h.Suspend(ctx, alice, suspended.ID))
	before := h.rows()
	calls := map[string]func() error{
		"create": func() error { _, err := h.Create(ctx, coppice.NewVM{Account: alice}); return err },
		"start":  func() error { _, err := h.Start(ctx, alice, stopped.ID, coppice.StartOptions{}); return err },
		"resume": func() error { _, err := h.Start(ctx, alice, suspended.ID, coppice.StartOptions{}); return err },
		"wake":   func() error { _, _, err := h.Use(ctx, alice, suspended.ID, "test"); return err },
		"fork":   func() error { _, err := h.Fork(ctx, alice, running.ID, coppice.ForkSpec{Count: 2}); return err },
		"resize": func() error {
			_, err := h.Resize(ctx, alice, running.ID, coppice.ResizeSpec{MemoryMiB: new(int64(16 << 10))})
			return err
		},
	}
	h.memory(kept + needs - 1) // one VM runs
	for name, call := range calls {
		if err := call(); code(err) != coppice.CodeNoMemory {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := h.rows(); after != before {
		t.Errorf("after refusals: %s\nbefore: %s", after, before)
	}
	h.clean(running.ID, stopped.ID, suspended.ID)

	h.memory(kept + needs)
	h.must(h.Start(ctx, alice, stopped.ID, coppice.StartOptions{}))
	h.memory(kept) // less than nothing is left: what runs may go on, and become less
	h.must(h.Resize(ctx, alice, running.ID, coppice.ResizeSpec{MemoryMiB: new(int64(512))}))
	h.must(h.Start(ctx, alice, running.ID, coppice.StartOptions{}))
	h.hv.End(stopped.ID, coppice.Exit{Kind: coppice.ExitReboot})
	h.must(h.Stop(ctx, alice, running.ID))
}

// A fork makes as many as there is memory for.
func TestForkUpToTheMemory(t *testing.T) {
	h := newHost(t)
	parent := h.create()
	h.memory(kept + 2*kept + needs) // two that run are as many as let a third start
	forks, err := h.Fork(t.Context(), alice, parent.ID, coppice.ForkSpec{Count: 8})
	if err != nil {
		t.Fatal(err)
	}
	there := []coppice.VMID{parent.ID}
	for _, f := range forks {
		switch {
		case f.Err == nil:
			there = append(there, f.VM.ID)
		case code(f.Err) != coppice.CodeNoMemory:
			t.Errorf("a child: %v", f.Err)
		}
	}
	if len(there) < 2 || len(there) > 4 {
		t.Errorf("%d VMs run, where there is room for four", len(there))
	}
	h.clean(there...)
}

// Those who start at once do not all count on the same memory; those who start
// the same VM do. Memory that was set aside is there again afterwards.
func TestMemoryIsPromisedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		var vms []coppice.VM
		for range 6 {
			vms = append(vms, h.must(h.Stop(t.Context(), alice, h.create().ID)))
		}
		h.memory(2 * needs)
		h.guest.set(func() { h.guest.mute = true })
		var mu sync.Mutex
		refused := 0
		ctx, leave := context.WithCancel(t.Context())
		start := func(vm coppice.VM) {
			if _, err := h.Start(ctx, alice, vm.ID, coppice.StartOptions{}); code(err) == coppice.CodeNoMemory {
				mu.Lock()
				refused++
				mu.Unlock()
			}
		}
		for range 10 {
			go start(vms[0])
		}
		synctest.Wait()
		for _, vm := range vms[1:5] {
			go start(vm)
		}
		synctest.Wait()
		if refused != 3 {
			t.Errorf("%d of 5 VMs were refused, where there is memory for two", refused)
		}
		leave() // they are still being started
		synctest.Wait()
		if _, err := h.Start(t.Context(), alice, vms[5].ID, coppice.StartOptions{}); code(err) != coppice.CodeNoMemory {
			t.Errorf("when the clients have left: %v", err)
		}
		h.guest.set(func() { h.guest.mute = false })
		for _, vm := range vms {
			h.must(h.Kill(t.Context(), alice, vm.ID))
		}
		synctest.Wait()
		for _, vm := range vms[:2] {
			h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
		}
	})
}

// Where the pool is about to be full nothing new is made, and all else goes on.
func TestStorageIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		ctx := t.Context()
		vm, stopped := h.create(), h.create()
		h.must(h.Stop(ctx, alice, stopped.ID))
		h.storage(511)
		_, createErr := h.Create(ctx, coppice.NewVM{Account: alice})
		_, forkErr := h.Fork(ctx, alice, vm.ID, coppice.ForkSpec{Count: 1})
		_, snapshotErr := h.TakeSnapshot(ctx, alice, vm.ID, "", coppice.Persistence{})
		_, resizeErr := h.Resize(ctx, alice, vm.ID, coppice.ResizeSpec{DiskMiB: new(int64(2048))})
		for name, err := range map[string]error{"create": createErr, "fork": forkErr, "snapshot": snapshotErr, "resize": resizeErr} {
			if code(err) != coppice.CodeNoStorage {
				t.Errorf("%s: %v", name, err)
			}
		}
		h.must(h.Start(ctx, alice, stopped.ID, coppice.StartOptions{}))
		h.must(h.Delete(ctx, alice, stopped.ID))
		h.clean(vm.ID)

		time.AfterFunc(100*time.Millisecond, func() { h.storage(512) }) // what was deleted is freed by and by
		h.must(h.Delete(ctx, alice, h.create().ID))
	})
}

// storage makes the pool have so much free space, in MiB.
func (h *host) storage(mib int64) {
	h.gauge.Set(coppice.Capacity{MemoryMiB: 1 << 30, FreeMemoryMiB: 1 << 30, StorageMiB: 1 << 30, FreeStorageMiB: mib})
}
