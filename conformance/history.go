package conformance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// TestHistory examines a history. open returns a new, empty one.
func TestHistory(t *testing.T, open func(t *testing.T) Records) {
	for name, test := range map[string]func(*testing.T, Records){
		"keeps every field":                  historyKeepsEveryField,
		"is written with the row or not":     historyIsAtomic,
		"lists by filter":                    historyLists,
		"forgets deleted VMs, and no number": historyForgets,
		"does nothing once ctx has ended":    historyCanceled,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// happen makes something happen to a VM.
func happen(t *testing.T, s coppice.Store, id coppice.VMID, events ...coppice.Event) {
	t.Helper()
	if _, err := s.UpdateVM(t.Context(), id, func(*coppice.VM) error { return nil }, events...); err != nil {
		t.Fatal(err)
	}
}

// wantEvents compares what filter selects by reasons.
func wantEvents(t *testing.T, s coppice.History, filter coppice.EventFilter, want ...string) (found []coppice.Event) {
	t.Helper()
	found, err := s.Events(t.Context(), filter)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range found {
		got = append(got, e.Reason)
	}
	if !cmp.Equal(got, want) {
		t.Errorf("%+v: %q, want %q", filter, got, want)
	}
	return found
}

func historyKeepsEveryField(t *testing.T, s Records) {
	insert(t, s, aBareVM("vm", "alice", epoch))
	full := coppice.Event{At: epoch, Verb: coppice.Suspend, State: coppice.Suspended, Failed: true, Reason: "näme with ' and \x00", Took: 123456789}
	bare := coppice.Event{At: epoch, State: coppice.Failed}
	happen(t, s, "vm", full, bare)
	got, err := s.Events(t.Context(), coppice.EventFilter{Limit: 10})
	if err != nil || len(got) != 2 || got[0].Seq < 1 || got[1].Seq <= got[0].Seq {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, want := range []coppice.Event{full, bare} {
		want.Seq, want.VM, want.Account = got[i].Seq, "vm", "alice"
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Errorf("event as it was (-) and as it is kept (+):\n%s", diff)
		}
	}
}

func historyIsAtomic(t *testing.T, s Records) {
	insert(t, s, aBareVM("vm", "alice", epoch))
	event := coppice.Event{At: epoch, State: coppice.Running}
	refused := errors.New("refused")
	_, changeErr := s.UpdateVM(t.Context(), "vm", func(*coppice.VM) error { return refused }, event)
	_, storeErr := s.UpdateVM(t.Context(), "vm", func(vm *coppice.VM) error { vm.State = "nonsense"; return nil }, event)
	if !errors.Is(changeErr, refused) || storeErr == nil {
		t.Errorf("%v, %v", changeErr, storeErr)
	}
	wantEvents(t, s, coppice.EventFilter{Limit: 10})
}

func historyLists(t *testing.T, s Records) {
	for id, account := range map[coppice.VMID]coppice.AccountID{"a": "alice", "b": "alice", "c": "bob"} {
		insert(t, s, aBareVM(id, account, epoch))
	}
	for _, reason := range []string{"a1", "b1", "c1", "a2", "c2", "a3"} {
		happen(t, s, coppice.VMID(reason[:1]), coppice.Event{At: epoch, State: coppice.Running, Reason: reason})
	}
	all := wantEvents(t, s, coppice.EventFilter{Limit: 10}, "a1", "b1", "c1", "a2", "c2", "a3")
	wantEvents(t, s, coppice.EventFilter{})
	wantEvents(t, s, coppice.EventFilter{Limit: 2}, "a1", "b1")
	wantEvents(t, s, coppice.EventFilter{Limit: 2, Newest: true}, "c2", "a3")
	wantEvents(t, s, coppice.EventFilter{Limit: 10, Account: "alice"}, "a1", "b1", "a2", "a3")
	wantEvents(t, s, coppice.EventFilter{Limit: 10, VM: "c"}, "c1", "c2")
	wantEvents(t, s, coppice.EventFilter{Limit: 10, VM: "c", Account: "alice"})
	wantEvents(t, s, coppice.EventFilter{Limit: 10, After: all[2].Seq}, "a2", "c2", "a3")
	wantEvents(t, s, coppice.EventFilter{Limit: 1, After: all[2].Seq, VM: "a"}, "a2")
	wantEvents(t, s, coppice.EventFilter{Limit: 10, After: all[5].Seq})
}

func historyForgets(t *testing.T, s Records) {
	for id, deleted := range map[coppice.VMID]time.Time{"old": epoch, "young": epoch.Add(2), "alive": {}} {
		vm := aBareVM(id, "alice", epoch)
		vm.DeletedAt = deleted
		insert(t, s, vm)
	}
	for _, id := range []coppice.VMID{"alive", "young", "old"} {
		happen(t, s, id, coppice.Event{At: epoch, State: coppice.Absent, Reason: string(id)})
	}
	last := wantEvents(t, s, coppice.EventFilter{Limit: 10}, "alive", "young", "old")[2]
	for _, want := range []int{1, 0} {
		if n, err := s.ForgetEvents(t.Context(), epoch.Add(1)); n != want || err != nil {
			t.Errorf("forgot %d, %v", n, err)
		}
	}
	happen(t, s, "alive", coppice.Event{At: epoch, State: coppice.Running, Reason: "again"})
	if now := wantEvents(t, s, coppice.EventFilter{Limit: 10}, "alive", "young", "again"); now[2].Seq <= last.Seq {
		t.Errorf("number %d was used twice", now[2].Seq)
	}
}

func historyCanceled(t *testing.T, s Records) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, listErr := s.Events(ctx, coppice.EventFilter{Limit: 1})
	_, forgetErr := s.ForgetEvents(ctx, epoch)
	if !errors.Is(listErr, context.Canceled) || !errors.Is(forgetErr, context.Canceled) {
		t.Errorf("%v, %v", listErr, forgetErr)
	}
}
