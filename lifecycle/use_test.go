package lifecycle_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/coppice-vm/coppice"
)

// use has a command run in a VM.
func (h *host) use(id coppice.VMID) error {
	session, release, err := h.Use(h.t.Context(), alice, id, "exec")
	if err != nil {
		return err
	}
	defer release()
	_, err = session.Exec(h.t.Context(), coppice.ExecSpec{Command: "true"}, coppice.Stdio{})
	return err
}

// Many who come to a VM that sleeps wake it once.
func TestUseWakes(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.hv.Poke(vm.ID, []byte("dreamt"))
	h.must(h.Suspend(t.Context(), alice, vm.ID))
	greeted := len(h.guest.fresh)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := h.use(vm.ID); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	after := h.await(vm.ID, coppice.Running)
	if after.Instance == vm.Instance || len(h.guest.fresh) != greeted+1 {
		t.Errorf("it was resumed %d times: %+v", len(h.guest.fresh)-greeted, after)
	}
	if got := string(h.hv.Peek(vm.ID)); got != "dreamt" {
		t.Errorf("it remembers %q", got)
	}
}

// Who comes while a VM is being suspended gets in all the same.
func TestUseDuringSuspend(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	for range 50 {
		suspended := make(chan error, 1)
		go func() {
			_, err := h.Suspend(t.Context(), alice, vm.ID)
			suspended <- err
		}()
		if err := h.use(vm.ID); err != nil {
			t.Fatal(err)
		}
		<-suspended // may be refused, if the use woke the VM first
	}
}

// A VM that is not asleep is not started, and says why it is of no use.
func TestUseStartsNothing(t *testing.T) {
	h := newHost(t)
	stopped, lost, gone := h.create(), h.create(), h.create()
	h.must(h.Stop(t.Context(), alice, stopped.ID))
	h.hv.End(lost.ID, coppice.Exit{Kind: coppice.ExitCrash})
	h.await(lost.ID, coppice.Failed)
	h.must(h.Delete(t.Context(), alice, gone.ID))
	for id, want := range map[coppice.VMID]coppice.Code{
		stopped.ID: coppice.CodeVMNotRunning,
		lost.ID:    coppice.CodeVMNotRunning,
		gone.ID:    coppice.CodeVMDeleted,
	} {
		if err := h.use(id); code(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
		if h.runs(id) {
			t.Error("it was started")
		}
	}
}

// Who comes while a VM's run is being ended, and is the first to talk to its guest, is
// told that it does not run.
func TestUseWhileARunEnds(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.leave(t.Context())
	h.open()
	ended, used := make(chan struct{}), make(chan struct{})
	h.guest.set(func() {
		h.guest.refuse = func(coppice.GuestIdentity) error { return fmt.Errorf("connect: %w: killed", coppice.ErrNoRun) }
	})
	h.discarding.Store(new(func() error {
		close(ended)
		<-used
		return nil
	}))
	killed := make(chan error, 1)
	go func() {
		_, err := h.Kill(t.Context(), alice, vm.ID)
		killed <- err
	}()
	<-ended
	if err := h.use(vm.ID); code(err) != coppice.CodeVMNotRunning {
		t.Errorf("used: %v", err)
	}
	close(used)
	if err := <-killed; err != nil {
		t.Error(err)
	}
}

// Nor is one that slept when it was to be used, and has been killed since.
func TestUseStartsNothingThatWasKilled(t *testing.T) {
	h := newHost(t)
	for range 50 {
		vm := h.create()
		h.must(h.Suspend(t.Context(), alice, vm.ID))
		captured, used := make(chan struct{}), make(chan error, 1)
		capturing := make(chan struct{})
		h.committing.Store(new(func() error {
			close(capturing)
			<-captured
			return nil
		}))
		snapshot := make(chan struct{})
		go func() {
			defer close(snapshot)
			h.TakeSnapshot(t.Context(), alice, vm.ID, "", coppice.Persistence{}) // which gives way
		}()
		<-capturing
		h.committing.Store(nil)
		go func() { used <- h.use(vm.ID) }() // waits for the capture
		go close(captured)
		h.must(h.Kill(t.Context(), alice, vm.ID))
		<-used // in time or not
		<-snapshot
		h.await(vm.ID, coppice.Stopped)
		h.must(h.Delete(t.Context(), alice, vm.ID))
	}
}

// What is asked for is done to a VM in use, too.
func TestSuspendOfAVMInUse(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	_, release, err := h.Use(t.Context(), alice, vm.ID, "exec")
	if err != nil {
		t.Fatal(err)
	}
	h.must(h.Suspend(t.Context(), alice, vm.ID))
	release()
	release() // again: nothing to do
	if err := h.use(vm.ID); err != nil {
		t.Error(err)
	}
}
