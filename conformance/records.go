package conformance

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// Records are the ports that refer to each other's rows.
type Records interface {
	coppice.Store
	coppice.Captures
	coppice.History
	coppice.Quotas
}

// epoch is an instant with nanoseconds, so that a store that drops them is found out.
var epoch = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)

// aVM returns a VM with every field set.
func aVM(id coppice.VMID) coppice.VM {
	return coppice.VM{
		ID: id, Account: "alice", Name: "näme with ' and \x00 and \"",
		State: coppice.Running, Verb: coppice.Suspend, VerbSince: epoch.Add(1), Reason: "a reason",
		Size:   coppice.Size{VCPUs: 2, MemoryMiB: 1024, DiskMiB: 16384},
		Target: coppice.Size{VCPUs: 4, MemoryMiB: 2048, DiskMiB: 20480},
		Persistence: coppice.Persistence{
			Type: coppice.Ephemeral, Priority: 7, DeleteEvent: coppice.OnSuspend,
		},
		IdleTimeout: 1234567891 * time.Nanosecond, ActivityBytes: 1234,
		Egress: coppice.EgressClosed, Private: true,
		Activity: coppice.Activity{At: epoch.Add(4), Idle: 12345 * time.Nanosecond},
		Image:    "image", Base: "base", Snapshot: "snapshot", Parent: "parent",
		Instance: "instance", HostBoot: "boot",
		CreatedAt: epoch, StartedAt: epoch.Add(2), DeletedAt: epoch.Add(3),
	}
}

// aBareVM returns a VM with nothing set that may be empty.
func aBareVM(id coppice.VMID, account coppice.AccountID, created time.Time) coppice.VM {
	return coppice.VM{
		ID: id, Account: account, CreatedAt: created, State: coppice.Absent,
		Size:        coppice.Size{VCPUs: 1, MemoryMiB: 1, DiskMiB: 1},
		Persistence: coppice.Persistence{Type: coppice.Sticky},
	}
}

// aCapture returns a capture with every field set.
func aCapture(id coppice.CaptureID) coppice.Capture {
	return coppice.Capture{
		ID: id, Account: "alice", Name: "näme", Source: "source", Instance: "instance", Image: "image",
		Size: coppice.Size{VCPUs: 2, MemoryMiB: 1024, DiskMiB: 16384},
		Live: true, Keep: true,
		Persistence: coppice.Persistence{Type: coppice.Ephemeral, Priority: 7, DeleteEvent: coppice.OnStop},
		CreatedAt:   epoch, DeletedAt: epoch.Add(1),
	}
}

// aBareCapture returns a capture with nothing set that may be empty.
func aBareCapture(id coppice.CaptureID, account coppice.AccountID, created time.Time) coppice.Capture {
	return coppice.Capture{
		ID: id, Account: account, CreatedAt: created,
		Size: coppice.Size{VCPUs: 1, MemoryMiB: 1, DiskMiB: 1},
	}
}

func insert(t *testing.T, s coppice.Store, vm coppice.VM) {
	t.Helper()
	if err := s.InsertVM(t.Context(), vm); err != nil {
		t.Errorf("insert: %v", err)
	}
}

func wantVM(t *testing.T, s coppice.Store, want coppice.VM) {
	t.Helper()
	got, err := s.VM(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("wanted VM (-) and the one there is (+):\n%s", diff)
	}
}
