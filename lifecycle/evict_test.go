package lifecycle_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/lifecycle"
)

// sticky makes a VM of that priority, last used now, that does not run but has
// a MiB of its own.
func (h *host) sticky(priority int) coppice.VMID {
	h.t.Helper()
	vm := h.createIdle(0, coppice.Persistence{Type: coppice.Sticky, Priority: priority})
	h.hv.Poke(vm.ID, bytes.Repeat([]byte{1}, 1<<20))
	h.must(h.Suspend(h.t.Context(), alice, vm.ID))
	time.Sleep(time.Minute)
	return vm.ID
}

// leaves sets how much storage the gauge shows.
func (h *host) leaves(mib int64) {
	h.gauge.Set(coppice.Capacity{MemoryMiB: 1 << 20, FreeMemoryMiB: 1 << 20, StorageMiB: 1 << 20, FreeStorageMiB: mib})
}

// Where storage is short the VM goes that is the least missed, one after the
// other, until it is not; and nothing of it stays but its id and its story.
func TestEviction(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		h.eviction = lifecycle.Eviction{BelowMiB: 3000, UntilMiB: 3000}
		h.leave(t.Context())
		h.open()

		running := h.createIdle(0, coppice.Persistence{Type: coppice.Sticky, Priority: 0})
		persistent := h.createIdle(0, coppice.Persistence{Type: coppice.Persistent})
		h.must(h.Suspend(t.Context(), alice, persistent.ID))
		ephemeral := h.createIdle(0, coppice.Persistence{Type: coppice.Ephemeral, DeleteEvent: coppice.OnSuspend})
		h.must(h.Stop(t.Context(), alice, ephemeral.ID))
		bare := h.createIdle(0, coppice.Persistence{Type: coppice.Sticky, Priority: 0})
		h.must(h.Stop(t.Context(), alice, bare.ID)) // shares all its files
		dear, older, newer, cheap := h.sticky(9), h.sticky(2), h.sticky(2), h.sticky(1)
		h.use(older) // now it is the newer one
		h.must(h.Suspend(t.Context(), alice, older))

		want := []coppice.VMID{cheap, newer, older, dear}
		for i := range want {
			h.leaves(2999)
			go func() { // what it gave back shows a while later
				for gone := want[i]; ; time.Sleep(time.Millisecond) {
					if vm, _ := h.store.VM(t.Context(), gone); vm.Deleted() {
						h.leaves(3000)
						return
					}
				}
			}()
			time.Sleep(time.Minute)
			synctest.Wait()
			for j, id := range want {
				if vm := h.must(h.VM(t.Context(), alice, id)); vm.Deleted() != (j <= i) {
					t.Fatalf("after %d evictions VM %d of %d is %+v", i+1, j+1, len(want), vm)
				}
			}
		}
		story := h.story(cheap)
		if last := story[len(story)-1]; last != "delete: absent, it was evicted: the host's storage pool had 2999 MiB left" {
			t.Errorf("its story ends: %s", last)
		}
		if err := h.use(cheap); code(err) != coppice.CodeVMDeleted {
			t.Errorf("use of a VM that was evicted: %v", err)
		}

		// However short it is, the others stay.
		h.leaves(1)
		time.Sleep(time.Minute)
		synctest.Wait()
		h.clean(running.ID, persistent.ID, ephemeral.ID, bare.ID)
	})
}

// A VM that somebody is at stays, and so do all when nothing is short.
func TestNoEviction(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		h.eviction = lifecycle.Eviction{BelowMiB: 3000, UntilMiB: 5000}
		h.leave(t.Context())
		h.open()
		h.leaves(3000)
		asleep, awake := h.sticky(0), h.sticky(0)
		_, release, err := h.Use(t.Context(), alice, awake, "exec")
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		time.Sleep(time.Minute)
		h.clean(asleep, awake)
		h.leaves(2999)
		time.Sleep(time.Minute)
		synctest.Wait()
		h.clean(awake)
	})
}

// A create that there is no room for has VMs evicted, and then there is.
func TestEvictionMakesRoom(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		h.eviction = lifecycle.Eviction{BelowMiB: 600, UntilMiB: 700}
		h.leave(t.Context())
		h.open()
		asleep := h.sticky(5)
		h.leaves(500) // less than the reserve
		go func() {
			for vm := (coppice.VM{}); !vm.Deleted(); time.Sleep(time.Millisecond) {
				vm, _ = h.store.VM(t.Context(), asleep)
			}
			h.leaves(800)
		}()
		h.create()
		events, err := h.Events(t.Context(), alice, 0)
		if err != nil || !slices.ContainsFunc(events, func(e coppice.Event) bool { return strings.HasPrefix(e.Reason, "it was evicted") }) {
			t.Errorf("%+v, %v", events, err)
		}
	})
}

// What one VM gives back shows a moment after it is gone, and may be more than
// its files say. No other goes meanwhile, though the pool is found short.
func TestEvictionOfNoMoreThanNeeded(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		h.eviction = lifecycle.Eviction{BelowMiB: 3000, UntilMiB: 3000}
		h.leave(t.Context())
		h.open()
		first, second := h.sticky(1), h.sticky(2)
		h.leaves(100) // less than the reserve: who creates has the pool looked at
		go func() {
			for vm := (coppice.VM{}); !vm.Deleted(); time.Sleep(time.Millisecond) {
				vm, _ = h.store.VM(t.Context(), first)
			}
			time.Sleep(150 * time.Millisecond)
			h.leaves(3000)
		}()
		created := h.create()
		time.Sleep(time.Minute)
		synctest.Wait()
		h.clean(created.ID, second)
	})
}

// A VM that somebody is in stays, also when it was put to sleep around him.
func TestNoEvictionOfAVMInUse(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		h.eviction = lifecycle.Eviction{BelowMiB: 3000, UntilMiB: 3000}
		h.leave(t.Context())
		h.open()
		id := h.sticky(0)
		_, release, err := h.Use(t.Context(), alice, id, "exec")
		if err != nil {
			t.Fatal(err)
		}
		h.must(h.Suspend(t.Context(), alice, id))
		h.leaves(2999)
		h.want(time.Minute, id, coppice.Suspended)
		release()
		h.want(time.Minute, id, coppice.Absent)
	})
}
