package sqlite_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/mem"
	"github.com/coppice-vm/coppice/sqlite"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 1, time.UTC)

func vm(id coppice.VMID, account coppice.AccountID) coppice.VM {
	return coppice.VM{
		ID: id, Account: account, CreatedAt: epoch, State: coppice.Absent,
		Size:        coppice.Size{VCPUs: 1, MemoryMiB: 1, DiskMiB: 1},
		Persistence: coppice.Persistence{Type: coppice.Sticky},
	}
}

// TestAgreesWithTwin does the same random things to the store and its twin,
// which must give the same answers: so that what a consumer learns from the
// twin is true of the store.
func TestAgreesWithTwin(t *testing.T) {
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		real, err := sqlite.Open(t.Context(), filepath.Join(dir, fmt.Sprint(n)))
		if err != nil {
			t.Fatal(err)
		}
		defer real.Close()
		twin := mem.NewStore()
		for _, s := range []coppice.Captures{real, twin} {
			base := coppice.Capture{ID: "x", Account: "alice", CreatedAt: epoch, Size: vm("", "").Size}
			if err := s.InsertCapture(t.Context(), base); err != nil {
				t.Fatal(err)
			}
		}

		// Alice may have anything, bob may not.
		none := coppice.Size{VCPUs: coppice.NoLimit, MemoryMiB: coppice.NoLimit, DiskMiB: coppice.NoLimit}
		for _, s := range []coppice.Quotas{real, twin} {
			free := coppice.Limits{VMs: coppice.NoLimit, Running: coppice.NoLimit, Each: none, Sum: none, Snapshots: coppice.NoLimit}
			if err := s.SetLimits(t.Context(), "alice", free); err != nil {
				t.Fatal(err)
			}
			few := free
			few.VMs, few.Running, few.Sum.VCPUs = 2, 1, 64
			if err := s.SetLimits(t.Context(), "bob", few); err != nil {
				t.Fatal(err)
			}
		}

		ids := rapid.SampledFrom([]coppice.VMID{"a", "b", "c", ""})
		accounts := rapid.SampledFrom([]coppice.AccountID{"alice", "bob", ""})
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				row := drawRow(t, vm(ids.Draw(t, "id"), accounts.Draw(t, "account")))
				row.CreatedAt = drawTime(t, "created")
				agree(t, row.ID, nil, real.InsertVM(t.Context(), row), nil, twin.InsertVM(t.Context(), row))
			},
			"get": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				got, gotErr := real.VM(t.Context(), id)
				want, wantErr := twin.VM(t.Context(), id)
				agree(t, "VM", got, gotErr, want, wantErr)
			},
			"list": func(t *rapid.T) {
				filter := coppice.VMFilter{Account: accounts.Draw(t, "account"), Deleted: rapid.Bool().Draw(t, "deleted")}
				got, gotErr := real.VMs(t.Context(), filter)
				want, wantErr := twin.VMs(t.Context(), filter)
				agree(t, "VMs", len(got), gotErr, len(want), wantErr)
				for i := range got {
					agree(t, "VMs", got[i], nil, want[i], nil)
				}
			},
			"usage": func(t *rapid.T) {
				account := accounts.Draw(t, "account")
				got, gotErr := real.Usage(t.Context(), account)
				want, wantErr := twin.Usage(t.Context(), account)
				agree(t, "Usage", got, gotErr, want, wantErr)
			},
			"update": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				edit := drawEdit(t)
				got, gotErr := real.UpdateVM(t.Context(), id, edit)
				want, wantErr := twin.UpdateVM(t.Context(), id, edit)
				agree(t, "UpdateVM", got, gotErr, want, wantErr)
			},
		})
	})
}

var errRefused = errors.New("refused")

// drawEdit returns a change for UpdateVM: mostly a sane one.
func drawEdit(t *rapid.T) func(*coppice.VM) error {
	row := drawRow(t, coppice.VM{})
	switch rapid.IntRange(0, 5).Draw(t, "edit") {
	case 0:
		return func(vm *coppice.VM) error { vm.Name = "in vain"; return errRefused }
	case 1:
		return func(vm *coppice.VM) error { *vm = row; return nil } // drops what may not change
	}
	return func(vm *coppice.VM) error {
		row.ID, row.Account, row.CreatedAt = vm.ID, vm.Account, vm.CreatedAt
		*vm = row
		return nil
	}
}

// drawRow returns vm with every field that may change drawn: sane, but for one now and then.
func drawRow(t *rapid.T, vm coppice.VM) coppice.VM {
	text := rapid.SampledFrom([]string{"", "x", "ä'\"\x00;--"})
	sane := func(what string) bool { return rapid.IntRange(0, 20).Draw(t, what) > 0 }
	vm.Name, vm.Reason, vm.HostBoot = text.Draw(t, "name"), text.Draw(t, "reason"), text.Draw(t, "boot")
	vm.Image, vm.Base = coppice.ImageID(text.Draw(t, "image")), coppice.CaptureID(text.Draw(t, "base"))
	vm.Snapshot, vm.Parent = coppice.CaptureID(text.Draw(t, "snapshot")), coppice.VMID(text.Draw(t, "parent"))
	vm.Instance = coppice.InstanceID(text.Draw(t, "instance"))
	vm.State = rapid.SampledFrom(coppice.States).Draw(t, "state")
	vm.Verb = rapid.SampledFrom(append(coppice.Verbs, coppice.Idle)).Draw(t, "verb")
	vm.Size = coppice.Size{
		VCPUs:     rapid.IntRange(1, 64).Draw(t, "vcpus"),
		MemoryMiB: rapid.Int64Range(1, 1<<40).Draw(t, "memory"),
		DiskMiB:   rapid.Int64Range(1, 1<<40).Draw(t, "disk"),
	}
	vm.Target.VCPUs = rapid.IntRange(0, 64).Draw(t, "target")
	vm.Persistence = coppice.Persistence{
		Type:        rapid.SampledFrom([]coppice.PersistenceType{coppice.Sticky, coppice.Persistent, coppice.Ephemeral}).Draw(t, "type"),
		Priority:    rapid.IntRange(0, 10).Draw(t, "priority"),
		DeleteEvent: rapid.SampledFrom([]coppice.DeleteEvent{"", coppice.OnStop, coppice.OnSuspend}).Draw(t, "event"),
	}
	vm.IdleTimeout = time.Duration(rapid.Int64Min(0).Draw(t, "idle"))
	vm.ActivityBytes = rapid.Int64Min(0).Draw(t, "bytes")
	vm.Egress = coppice.Egress(rapid.String().Draw(t, "egress"))
	vm.Activity = coppice.Activity{At: drawTime(t, "active"), Idle: time.Duration(rapid.Int64Min(0).Draw(t, "idle for"))}
	vm.VerbSince, vm.StartedAt, vm.DeletedAt = drawTime(t, "since"), drawTime(t, "started"), drawTime(t, "deleted")
	switch {
	case !sane("sane state"):
		vm.State = "nonsense"
	case !sane("sane verb"):
		vm.Verb = "nonsense"
	case !sane("sane size"):
		vm.Size.MemoryMiB = 0
	case !sane("sane persistence"):
		vm.Persistence.Priority = -1
	}
	return vm
}

// drawTime returns one of few instants, so that they meet, or the zero time.
func drawTime(t *rapid.T, what string) time.Time {
	if n := rapid.IntRange(0, 5).Draw(t, what); n > 0 {
		return epoch.Add(time.Duration(n))
	}
	return time.Time{}
}

func agree(t *rapid.T, what any, got any, gotErr error, want any, wantErr error) {
	t.Helper()
	for _, kind := range []error{nil, coppice.ErrExists, coppice.ErrNoVM, coppice.ErrNoCapture, errRefused} {
		if errors.Is(gotErr, kind) != errors.Is(wantErr, kind) {
			t.Fatalf("%v: the store says %v, its twin %v", what, gotErr, wantErr)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%v: the twin's answer (-) and the store's (+):\n%s", what, diff)
	}
}
