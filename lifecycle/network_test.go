package lifecycle_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/mem"
)

// wantEgress checks the policies of VMs that run: what is on record and what is in force.
func (h *host) wantEgress(want coppice.Egress, ids ...coppice.VMID) {
	h.t.Helper()
	for _, id := range ids {
		link, err := h.Link(h.t.Context(), alice, id)
		if err != nil || link.Egress != want || h.net.Egress(id) != want {
			h.t.Errorf("the VM may reach %+v, %v, and in truth %s; want %s", link, err, h.net.Egress(id), want)
		}
	}
}

// A policy is in force and on record as soon as it is set, is inherited by children,
// and outlives runs and daemons.
func TestEgress(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.wantEgress(coppice.EgressOpen, vm.ID)
	if _, err := h.SetEgress(t.Context(), bob, vm.ID, coppice.EgressClosed); code(err) != coppice.CodeVMNotFound {
		t.Errorf("bob changes the policy of alice's VM: %v", err)
	}
	if link, err := h.SetEgress(t.Context(), alice, vm.ID, coppice.EgressClosed); err != nil || link.Default || link.Egress != coppice.EgressClosed {
		t.Errorf("set: %+v, %v", link, err)
	}
	h.wantEgress(coppice.EgressClosed, vm.ID)

	// It is inherited, and outlives runs and daemons.
	forks, err := h.Fork(t.Context(), alice, vm.ID, coppice.ForkSpec{Count: 1})
	if err != nil || forks[0].Err != nil {
		t.Fatal(err, forks)
	}
	h.wantEgress(coppice.EgressClosed, forks[0].VM.ID)
	h.must(h.Stop(t.Context(), alice, vm.ID))
	h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
	h.wantEgress(coppice.EgressClosed, vm.ID)
	h.leave(t.Context())
	if err := h.net.SetUp(t.Context(), vm.ID, coppice.EgressOpen); err != nil { // as if the daemon had died in a change
		t.Fatal(err)
	}
	h.open()
	for _, id := range []coppice.VMID{vm.ID, forks[0].VM.ID} {
		_, release, err := h.Use(t.Context(), alice, id, "test") // which waits until it is settled
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	h.wantEgress(coppice.EgressClosed, vm.ID, forks[0].VM.ID)

	// What does not run gets it when it does.
	h.must(h.Suspend(t.Context(), alice, vm.ID))
	if link, err := h.SetEgress(t.Context(), alice, vm.ID, ""); err != nil || !link.Default || link.Egress != coppice.EgressOpen {
		t.Errorf("set: %+v, %v", link, err)
	}
	h.clean(vm.ID, forks[0].VM.ID)
	h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
	h.wantEgress(coppice.EgressOpen, vm.ID)
	h.must(h.Delete(t.Context(), alice, vm.ID))
	if _, err := h.SetEgress(t.Context(), alice, vm.ID, coppice.EgressClosed); code(err) != coppice.CodeVMDeleted {
		t.Errorf("the policy of a deleted VM: %v", err)
	}
	h.clean(forks[0].VM.ID)
}

// A VM that is made private stays so, whatever is done to it meanwhile, and so do its forks.
func TestPrivate(t *testing.T) {
	h := newHost(t)
	vm := h.must(h.Create(t.Context(), coppice.NewVM{Account: alice, Private: true}))
	set := func(private bool) {
		t.Helper()
		if got, err := h.SetPrivate(t.Context(), alice, vm.ID, private); err != nil || got.Private != private {
			t.Errorf("set: %v, %v", got.Private, err)
		}
	}
	want := func(id coppice.VMID, private bool) {
		t.Helper()
		if got, err := h.VM(t.Context(), alice, id); err != nil || got.Private != private {
			t.Errorf("private: %v, %v, want %v", got.Private, err, private)
		}
	}
	want(vm.ID, true)
	if _, err := h.SetPrivate(t.Context(), bob, vm.ID, false); code(err) != coppice.CodeVMNotFound {
		t.Errorf("bob opens alice's VM: %v", err)
	}
	forks, err := h.Fork(t.Context(), alice, vm.ID, coppice.ForkSpec{Count: 1})
	if err != nil || forks[0].Err != nil {
		t.Fatal(err, forks)
	}
	want(forks[0].VM.ID, true)
	set(false)
	h.must(h.Stop(t.Context(), alice, vm.ID))
	starting, proceed, started := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	h.wires.fail(func(ctx context.Context) error {
		close(starting)
		<-proceed
		return h.net.SetUp(ctx, vm.ID, coppice.EgressOpen)
	})
	go func() {
		_, err := h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{})
		started <- err
	}()
	<-starting
	set(true)
	close(proceed)
	if err := <-started; err != nil {
		t.Error(err)
	}
	want(vm.ID, true)
	h.must(h.Delete(t.Context(), alice, vm.ID))
	if _, err := h.SetPrivate(t.Context(), alice, vm.ID, false); code(err) != coppice.CodeVMDeleted {
		t.Errorf("a deleted VM: %v", err)
	}
	h.clean(forks[0].VM.ID)
}

// faultyWires is a network that can be made to fail, and counts questions.
type faultyWires struct {
	*mem.Network
	mu         sync.Mutex
	setUp      func(context.Context) error // instead of what the network does; may be nil
	asked      atomic.Int32                // for traffic
	unreadable atomic.Pointer[error]       // how that fails
}

func (w *faultyWires) fail(setUp func(context.Context) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setUp = setUp
}

func (w *faultyWires) SetUp(ctx context.Context, id coppice.VMID, egress coppice.Egress) error {
	w.mu.Lock()
	setUp := w.setUp
	w.mu.Unlock()
	if setUp != nil {
		return setUp(ctx)
	}
	return w.Network.SetUp(ctx, id, egress)
}

func (w *faultyWires) Traffic(ctx context.Context, id coppice.VMID) (coppice.Traffic, error) {
	w.asked.Add(1)
	if err := w.unreadable.Load(); err != nil && *err != nil {
		return coppice.Traffic{}, *err
	}
	return w.Network.Traffic(ctx, id)
}

// A policy that cannot be put in force is not on record either, and whoever
// wanted it is told why in words that are for him.
func TestEgressFails(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		vm := h.create()
		h.wires.fail(func(context.Context) error { return errors.New("netlink: no buffer space") })
		_, err := h.SetEgress(t.Context(), alice, vm.ID, coppice.EgressClosed)
		if e, ok := errors.AsType[*coppice.Error](err); !ok || e.Code != coppice.CodeInternal || strings.Contains(e.Message, "netlink") {
			t.Errorf("no network: %v", err)
		}
		h.wantEgress(coppice.EgressOpen, vm.ID)

		h.wires.fail(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		answer := make(chan error, 1)
		change := func() {
			_, err := h.SetEgress(t.Context(), alice, vm.ID, coppice.EgressClosed)
			answer <- err
		}
		go change()
		synctest.Wait()
		h.leave(t.Context())
		if err := <-answer; code(err) != coppice.CodeUnavailable {
			t.Errorf("the daemon leaves meanwhile: %v", err)
		}
		h.wires.fail(nil)
		h.open()
		synctest.Wait()
		h.wires.fail(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		go change()
		synctest.Wait()
		h.must(h.Delete(t.Context(), alice, vm.ID))
		if err := <-answer; code(err) != coppice.CodeConflict {
			t.Errorf("the VM is deleted meanwhile: %v", err)
		}
	})
}

// A spare and a husk may reach what the host allows, until somebody has them.
func TestEgressOfWhatIsMadeAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.leave(t.Context())
		h.spares, h.husks = 1, 1
		h.open()
		synctest.Wait()
		ahead, _ := h.net.Networks(t.Context())
		vm := h.must(h.Create(t.Context(), coppice.NewVM{Account: alice, Egress: "10.0.0.0/8"}))
		forks, err := h.Fork(t.Context(), alice, vm.ID, coppice.ForkSpec{Count: 1})
		if err != nil || forks[0].Err != nil {
			t.Fatal(err, forks)
		}
		if child := forks[0].VM.ID; !slices.Contains(ahead, vm.ID) || !slices.Contains(ahead, child) {
			t.Errorf("%v were made ahead, %s and %s taken", ahead, vm.ID, child)
		}
		h.wantEgress("10.0.0.0/8", vm.ID, forks[0].VM.ID)
		h.Close(t.Context())
		h.clean(vm.ID, forks[0].VM.ID)
	})
}

// Dial wakes a VM, and its connections end with the run.
func TestDial(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	if _, err := h.Dial(t.Context(), alice, vm.ID, 80, "test"); !errors.Is(err, coppice.ErrRefused) {
		t.Errorf("nobody listens: %v", err)
	}
	l, err := h.net.Plug(vm.ID).Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(conn, conn)
		}
	}()
	conn, err := h.Dial(t.Context(), alice, vm.ID, 80, "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Dial(t.Context(), bob, vm.ID, 80, "test"); code(err) != coppice.CodeVMNotFound {
		t.Errorf("bob dials alice's VM: %v", err)
	}
	h.must(h.Suspend(t.Context(), alice, vm.ID))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("a connection outlives the run")
	}
	if _, err := h.Dial(t.Context(), alice, vm.ID, 80, "test"); !errors.Is(err, coppice.ErrRefused) {
		t.Errorf("after the suspend: %v", err) // the twin's listener has gone with the network
	}
	h.await(vm.ID, coppice.Running)
	h.must(h.Stop(t.Context(), alice, vm.ID))
	if _, err := h.Dial(t.Context(), alice, vm.ID, 80, "test"); code(err) != coppice.CodeVMNotRunning {
		t.Errorf("dial into a stopped VM: %v", err)
	}
}
