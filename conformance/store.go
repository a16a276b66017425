package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// TestStore examines a store. open returns a new, empty one, and cleans up by t.
func TestStore(t *testing.T, open func(t *testing.T) Records) {
	tests := []struct {
		name string
		test func(*testing.T, coppice.Store)
	}{
		{"keeps every field", storeKeepsEveryField},
		{"never gives an id out twice", storeRefusesTakenID},
		{"knows what is not there", storeMissing},
		{"lists by filter, oldest first", storeLists},
		{"updates", storeUpdates},
		{"leaves the row when change fails", storeUpdateFails},
		{"survives a change that panics", storeUpdatePanics},
		{"keeps id, account and creation time", storeImmutable},
		{"takes every state and verb", storeTakesStatesAndVerbs},
		{"refuses nonsense", storeRefusesNonsense},
		{"loses no concurrent update", storeConcurrentUpdates},
		{"does nothing once ctx has ended", storeCanceled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			must(t, s.InsertCapture(t.Context(), aCapture("base"))) // for aVM
			test.test(t, s)
		})
	}
}

func storeKeepsEveryField(t *testing.T, s coppice.Store) {
	ctx := t.Context()
	full, bare := aVM("full"), aBareVM("bare", "bob", epoch)
	for _, vm := range []coppice.VM{full, bare} {
		insert(t, s, vm)
		got, err := s.VM(ctx, vm.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(vm, got); diff != "" {
			t.Errorf("VM as inserted (-) and as read (+):\n%s", diff)
		}
	}

	// A time zone is how an instant is written, not what is kept.
	elsewhere := full
	elsewhere.CreatedAt = full.CreatedAt.In(time.FixedZone("elsewhere", 3600))
	got, err := s.UpdateVM(ctx, full.ID, func(vm *coppice.VM) error { *vm = elsewhere; return nil })
	if err != nil || !got.CreatedAt.Equal(full.CreatedAt) {
		t.Errorf("the same instant in another zone: %v, %v", got.CreatedAt, err)
	}
}

func storeRefusesTakenID(t *testing.T, s coppice.Store) {
	live, tombstone := aBareVM("live", "alice", epoch), aBareVM("tombstone", "alice", epoch)
	tombstone.DeletedAt = epoch.Add(time.Hour)
	for _, vm := range []coppice.VM{live, tombstone} {
		insert(t, s, vm)
		if err := s.InsertVM(t.Context(), aBareVM(vm.ID, "bob", epoch)); !errors.Is(err, coppice.ErrExists) {
			t.Errorf("second insert of %s: %v, want ErrExists", vm.ID, err)
		}
		wantVM(t, s, vm)
	}
}

func storeMissing(t *testing.T, s coppice.Store) {
	ctx := t.Context()
	if _, err := s.VM(ctx, "nobody"); !errors.Is(err, coppice.ErrNoVM) {
		t.Errorf("VM: %v, want ErrNoVM", err)
	}
	_, err := s.UpdateVM(ctx, "nobody", func(*coppice.VM) error {
		t.Error("change was called without a VM")
		return nil
	})
	if !errors.Is(err, coppice.ErrNoVM) {
		t.Errorf("UpdateVM: %v, want ErrNoVM", err)
	}
	if vms, err := s.VMs(ctx, coppice.VMFilter{Deleted: true}); len(vms) != 0 || err != nil {
		t.Errorf("VMs of an empty store: %v, %v", vms, err)
	}
}

func storeLists(t *testing.T, s coppice.Store) {
	gone := aBareVM("gone", "alice", epoch.Add(2))
	gone.DeletedAt = epoch.Add(time.Hour)
	for _, vm := range []coppice.VM{
		aBareVM("young", "alice", epoch.Add(4)),
		aBareVM("other", "bob", epoch.Add(1)),
		gone,
		aBareVM("twin-b", "alice", epoch.Add(3)),
		aBareVM("twin-a", "alice", epoch.Add(3)),
		aBareVM("old", "alice", epoch),
	} {
		insert(t, s, vm)
	}
	for _, test := range []struct {
		filter coppice.VMFilter
		want   []coppice.VMID
	}{
		{coppice.VMFilter{}, []coppice.VMID{"old", "other", "twin-a", "twin-b", "young"}},
		{coppice.VMFilter{Account: "alice"}, []coppice.VMID{"old", "twin-a", "twin-b", "young"}},
		{coppice.VMFilter{Account: "alice", Deleted: true}, []coppice.VMID{"old", "gone", "twin-a", "twin-b", "young"}},
		{coppice.VMFilter{Account: "bob"}, []coppice.VMID{"other"}},
		{coppice.VMFilter{Account: "carol", Deleted: true}, nil},
		{coppice.VMFilter{Deleted: true}, []coppice.VMID{"old", "other", "gone", "twin-a", "twin-b", "young"}},
	} {
		vms, err := s.VMs(t.Context(), test.filter)
		if err != nil {
			t.Fatal(err)
		}
		var got []coppice.VMID
		for _, vm := range vms {
			got = append(got, vm.ID)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("VMs(%+v), wanted (-) and got (+):\n%s", test.filter, diff)
		}
	}
}

func storeUpdates(t *testing.T, s coppice.Store) {
	before := aBareVM("vm", "alice", epoch)
	insert(t, s, before)
	bystander := aVM("bystander")
	insert(t, s, bystander)

	after := aVM("vm")
	after.Account, after.CreatedAt = before.Account, before.CreatedAt
	calls := 0
	got, err := s.UpdateVM(t.Context(), "vm", func(vm *coppice.VM) error {
		calls++
		if diff := cmp.Diff(before, *vm); diff != "" {
			t.Errorf("the row (-) and what change was given (+):\n%s", diff)
		}
		*vm = after
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if calls != 1 {
		t.Errorf("change was called %d times", calls)
	}
	if diff := cmp.Diff(after, got); diff != "" {
		t.Errorf("what change wrote (-) and UpdateVM returned (+):\n%s", diff)
	}
	wantVM(t, s, after)
	wantVM(t, s, bystander)

	// And back: a field that was set becomes empty again.
	if _, err := s.UpdateVM(t.Context(), "vm", func(vm *coppice.VM) error { *vm = before; return nil }); err != nil {
		t.Fatal(err)
	}
	wantVM(t, s, before)
}

func storeUpdateFails(t *testing.T, s coppice.Store) {
	vm := aVM("vm")
	insert(t, s, vm)
	refused := errors.New("refused")
	_, err := s.UpdateVM(t.Context(), "vm", func(vm *coppice.VM) error {
		vm.State = coppice.Stopped
		return refused
	})
	if err != refused {
		t.Errorf("UpdateVM: %v, want change's own error as it is", err)
	}
	wantVM(t, s, vm)
}

func storeUpdatePanics(t *testing.T, s coppice.Store) {
	vm := aVM("vm")
	insert(t, s, vm)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not come through")
			}
		}()
		s.UpdateVM(t.Context(), "vm", func(vm *coppice.VM) error {
			vm.State = coppice.Stopped
			panic("in change")
		})
	}()
	wantVM(t, s, vm)
	if _, err := s.UpdateVM(t.Context(), "vm", func(*coppice.VM) error { return nil }); err != nil {
		t.Errorf("update after a panic: %v", err)
	}
}

func storeImmutable(t *testing.T, s coppice.Store) {
	vm := aVM("vm")
	insert(t, s, vm)
	for what, change := range map[string]func(*coppice.VM){
		"id":            func(vm *coppice.VM) { vm.ID = "other" },
		"account":       func(vm *coppice.VM) { vm.Account = "bob" },
		"creation time": func(vm *coppice.VM) { vm.CreatedAt = vm.CreatedAt.Add(1) },
	} {
		_, err := s.UpdateVM(t.Context(), "vm", func(vm *coppice.VM) error {
			change(vm)
			vm.Name = "changed with it"
			return nil
		})
		if err == nil {
			t.Errorf("UpdateVM let the %s change", what)
		}
		wantVM(t, s, vm)
	}
}

func storeTakesStatesAndVerbs(t *testing.T, s coppice.Store) {
	vm := aVM("vm")
	insert(t, s, vm)
	for _, vm.State = range coppice.States {
		for _, vm.Verb = range append(coppice.Verbs, coppice.Idle) {
			if _, err := s.UpdateVM(t.Context(), "vm", func(old *coppice.VM) error { *old = vm; return nil }); err != nil {
				t.Errorf("(%s, %s): %v", vm.State, vm.Verb, err)
			}
			wantVM(t, s, vm)
		}
	}
}

func storeRefusesNonsense(t *testing.T, s coppice.Store) {
	sane := aVM("sane")
	insert(t, s, sane)
	for what, spoil := range map[string]func(*coppice.VM){
		"state":               func(vm *coppice.VM) { vm.State = "starting" },
		"no state":            func(vm *coppice.VM) { vm.State = "" },
		"verb":                func(vm *coppice.VM) { vm.Verb = "ponder" },
		"no CPUs":             func(vm *coppice.VM) { vm.Size.VCPUs = 0 },
		"no memory":           func(vm *coppice.VM) { vm.Size.MemoryMiB = 0 },
		"negative disk":       func(vm *coppice.VM) { vm.Size.DiskMiB = -1 },
		"persistence":         func(vm *coppice.VM) { vm.Persistence.Type = "" },
		"priority":            func(vm *coppice.VM) { vm.Persistence.Priority = 11 },
		"delete event":        func(vm *coppice.VM) { vm.Persistence.DeleteEvent = "OnWhim" },
		"negative idle":       func(vm *coppice.VM) { vm.IdleTimeout = -1 },
		"negative bytes":      func(vm *coppice.VM) { vm.ActivityBytes = -1 },
		"negative idleness":   func(vm *coppice.VM) { vm.Activity.Idle = -1 },
		"no account":          func(vm *coppice.VM) { vm.Account = "" },
		"no creation time":    func(vm *coppice.VM) { vm.CreatedAt = time.Time{} },
		"no id, on insertion": func(vm *coppice.VM) { vm.ID = "" },
	} {
		_, err := s.UpdateVM(t.Context(), "sane", func(vm *coppice.VM) error { spoil(vm); return nil })
		if err == nil {
			t.Errorf("%s: UpdateVM took it", what)
		}
		wantVM(t, s, sane)

		spoiled := aVM("spoiled")
		spoil(&spoiled)
		if err := s.InsertVM(t.Context(), spoiled); err == nil || errors.Is(err, coppice.ErrExists) {
			t.Errorf("%s: InsertVM: %v", what, err)
		}
	}
	if vms, err := s.VMs(t.Context(), coppice.VMFilter{Deleted: true}); len(vms) != 1 || err != nil {
		t.Errorf("%d VMs, %v; want the sane one", len(vms), err)
	}
}

func storeConcurrentUpdates(t *testing.T, s coppice.Store) {
	const writers, each = 4, 10
	insert(t, s, aBareVM("vm", "alice", epoch))
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				_, err := s.UpdateVM(t.Context(), "vm", func(vm *coppice.VM) error {
					vm.Size.DiskMiB++
					return nil
				})
				if err != nil {
					t.Errorf("update: %v", err)
				}
				insert(t, s, aBareVM(coppice.VMID(fmt.Sprintf("vm-%d-%d", w, i)), "alice", epoch))
				if _, err := s.VMs(t.Context(), coppice.VMFilter{}); err != nil {
					t.Errorf("list: %v", err)
				}
			}
		})
	}
	wg.Wait()
	vm, err := s.VM(t.Context(), "vm")
	if err != nil || vm.Size.DiskMiB != 1+writers*each {
		t.Errorf("%d of %d updates are there; %v", vm.Size.DiskMiB-1, writers*each, err)
	}
	if vms, err := s.VMs(t.Context(), coppice.VMFilter{}); len(vms) != 1+writers*each || err != nil {
		t.Errorf("%d of %d VMs are there; %v", len(vms), 1+writers*each, err)
	}
}

func storeCanceled(t *testing.T, s coppice.Store) {
	vm := aVM("vm")
	insert(t, s, vm)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, readErr := s.VM(ctx, "vm")
	_, listErr := s.VMs(ctx, coppice.VMFilter{})
	_, updateErr := s.UpdateVM(ctx, "vm", func(vm *coppice.VM) error { vm.Name = "late"; return nil })
	for what, err := range map[string]error{
		"VM": readErr, "VMs": listErr, "UpdateVM": updateErr, "InsertVM": s.InsertVM(ctx, aVM("late")),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", what, err)
		}
	}
	wantVM(t, s, vm)
	if _, err := s.VM(t.Context(), "late"); !errors.Is(err, coppice.ErrNoVM) {
		t.Errorf("the VM that was inserted too late: %v, want ErrNoVM", err)
	}
}
