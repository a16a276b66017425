package lifecycle_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// story tells what happened to a VM.
func (h *host) story(id coppice.VMID) (story []string) {
	h.t.Helper()
	events, err := h.VMHistory(h.t.Context(), alice, id, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range events {
		line := fmt.Sprintf("%s: %s", e.Verb, e.State)
		if e.Failed {
			line += ", failed"
		}
		if e.Reason != "" {
			line += ", " + e.Reason
		}
		story = append(story, line)
	}
	return story
}

// Every verb leaves what it led to and why, in order, across daemons and a delete.
func TestHistory(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		vm := h.createIdle(time.Minute, coppice.Persistence{})
		h.want(time.Minute, vm.ID, coppice.Suspended)
		if err := h.use(vm.ID); err != nil {
			t.Fatal(err)
		}
		child := h.fork(vm.ID, coppice.ForkSpec{Count: 1})[0]
		h.full.Store(true)
		if _, err := h.Suspend(t.Context(), alice, vm.ID); err == nil {
			t.Error("suspended in a full pool")
		}
		h.full.Store(false)
		h.hv.End(vm.ID, coppice.Exit{Kind: coppice.ExitCrash, Detail: "signal 9"})
		synctest.Wait()
		h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
		h.leave(t.Context())
		h.hv.Discard(t.Context(), vm.ID)
		h.open()
		synctest.Wait()
		h.must(h.Delete(t.Context(), alice, vm.ID))

		want := []string{
			"restore: running",
			"suspend: suspended, it was idle for 1m",
			"resume: running, woken for exec",
			"capture: running",
			"suspend: running, failed, the host's storage pool is full: delete VMs or make the pool larger",
			"kill: failed, failed, the run ended: signal 9",
			"kill: stopped",
			"start: running",
			": failed, its process ended while no daemon was watching",
			"delete: absent",
		}
		if diff := cmp.Diff(want, h.story(vm.ID)); diff != "" {
			t.Error(diff)
		}
		if got := h.story(child.ID); got[0] != "restore: running, forked from "+string(vm.ID) {
			t.Errorf("a child: %q", got)
		}
		if _, err := h.VMHistory(t.Context(), bob, vm.ID, 0); code(err) != coppice.CodeVMNotFound {
			t.Errorf("bob: %v", err)
		}

		// It is kept for a day after the VM was deleted.
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if got := h.story(vm.ID); len(got) != len(want) {
			t.Errorf("after 23 hours: %q", got)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if got := h.story(vm.ID); len(got) != 0 {
			t.Errorf("after 26 hours: %q", got)
		}
		if got := h.story(child.ID); len(got) == 0 {
			t.Error("the history of a VM that is there was forgotten")
		}
	})
}

// Who follows an account's events gets each of them once, and no other's.
func TestFollow(t *testing.T) {
	h := newHost(t)
	last, err := h.LastEvent(t.Context(), alice)
	if err != nil || last != 0 {
		t.Fatal(last, err)
	}
	made := make(chan coppice.VM)
	go func() {
		for range 5 {
			h.must(h.Create(t.Context(), coppice.NewVM{Account: bob}))
			made <- h.create()
		}
		close(made)
	}()
	var want, got []coppice.VMID
	for vm := range made {
		want = append(want, vm.ID)
		for len(got) < len(want) {
			news := h.News()
			events, err := h.Events(t.Context(), alice, last)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				got, last = append(got, e.VM), e.Seq
			}
			if len(events) == 0 {
				<-news
			}
		}
	}
	if !cmp.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A guest that waits for space is shown to, and is in the history, until it goes on.
func TestGuestWaits(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		vm := h.createIdle(0, coppice.Persistence{})
		const what = "the guest waits for space"
		h.hv.Starve(vm.ID, what)
		synctest.Wait()
		if now, err := h.VM(t.Context(), alice, vm.ID); err != nil || now.State != coppice.Running || now.Reason != what {
			t.Errorf("the VM is %s because of %q, %v", now.State, now.Reason, err)
		}
		all, err := h.VMs(t.Context(), alice, false)
		if err != nil || len(all) != 1 || all[0].Reason != what {
			t.Errorf("the list is %+v, %v", all, err)
		}
		h.hv.Starve(vm.ID, "")
		synctest.Wait()
		if now, err := h.VM(t.Context(), alice, vm.ID); err != nil || now.Reason != "" {
			t.Errorf("the VM is %s because of %q, %v", now.State, now.Reason, err)
		}
		want := []string{": running, " + what, ": running, the guest has what it waited for and goes on"}
		if story := h.story(vm.ID); len(story) < 2 || cmp.Diff(want, story[len(story)-2:]) != "" {
			t.Errorf("the story ends with %q, want %q", story, want)
		}
	})
}
