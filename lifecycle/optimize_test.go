package lifecycle_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
)

func (h *host) optimize(id coppice.VMID, want string) {
	h.t.Helper()
	said, err := h.Optimize(h.t.Context(), alice, id)
	if err != nil || !strings.Contains(said, want) {
		h.t.Errorf("optimize says %q, %v; want %q", said, err, want)
	}
}

// What is stored only to be restored from is dropped when nothing can be restored
// from it any more, and the VM goes on as ever.
func TestOptimize(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	vm := h.create()
	h.optimize(vm.ID, "kept for others") // it began as the host's image
	h.must(h.Suspend(ctx, alice, vm.ID))
	h.optimize(vm.ID, "is needed")
	h.must(h.Start(ctx, alice, vm.ID, coppice.StartOptions{}))
	h.optimize(vm.ID, "dropped the stored disk")
	h.optimize(vm.ID, "only the memory is kept")

	// It goes on as ever: suspended, resumed, forked, across a crash.
	h.hv.Poke(vm.ID, []byte("still here"))
	h.leave(ctx)
	h.open()
	h.await(vm.ID, coppice.Running)
	child := h.fork(vm.ID, coppice.ForkSpec{Count: 1})[0]
	h.must(h.Suspend(ctx, alice, vm.ID))
	h.must(h.Start(ctx, alice, vm.ID, coppice.StartOptions{}))
	for _, id := range []coppice.VMID{vm.ID, child.ID} {
		if got := string(h.hv.Peek(id)); got != "still here" {
			t.Errorf("%s remembers %q", id, got)
		}
	}
	h.must(h.Stop(ctx, alice, vm.ID))
	h.optimize(vm.ID, "nothing else is kept")

	if _, err := h.Optimize(ctx, bob, vm.ID); code(err) != coppice.CodeVMNotFound {
		t.Errorf("bob optimizes it: %v", err)
	}
	h.must(h.Delete(ctx, alice, vm.ID))
	h.must(h.Delete(ctx, alice, child.ID))
	h.clean()
}

// What a sibling that is still being restored needs stays.
func TestOptimizeDuringAFork(t *testing.T) {
	h := newHost(t)
	parent := h.create()
	first, more := make(chan coppice.VMID, 1), make(chan struct{})
	n := 0
	h.guest.set(func() {
		h.guest.refuse = func(id coppice.GuestIdentity) error {
			if n++; n == 1 {
				first <- id.VM
				return nil
			}
			<-more
			return errors.New("no")
		}
	})
	forked := make(chan []coppice.Fork, 1)
	go func() {
		forks, _ := h.Fork(t.Context(), alice, parent.ID, coppice.ForkSpec{Count: 2})
		forked <- forks
	}()
	up := <-first
	h.await(up, coppice.Running)
	h.optimize(up, "another VM")
	close(more)
	<-forked
	h.optimize(up, "dropped the stored disk")
}
