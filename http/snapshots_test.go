package http

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// The life of a snapshot, by the Go client.
func TestSnapshotLife(t *testing.T) {
	h := newHarness(t)
	c, ctx := h.client(), t.Context()
	id := h.vms.add(coppice.VM{Size: coppice.Size{VCPUs: 2, MemoryMiB: 512, DiskMiB: 4096}})
	vm := h.vms.rows[id]

	taken, err := c.TakeSnapshot(ctx, string(id), api.TakeSnapshot{Name: new("first")})
	if err != nil {
		t.Fatal(err)
	}
	if taken.SourceVMID != string(id) || taken.SourceVMInstanceID != string(vm.Instance) {
		t.Errorf("%+v", taken)
	}
	renamed, err := c.RenameSnapshot(ctx, taken.SnapshotID, "second")
	if err != nil || renamed != (api.UpdatedSnapshot{SnapshotID: taken.SnapshotID, SnapshotIDSnake: taken.SnapshotID, Name: "second"}) {
		t.Errorf("%+v, %v", renamed, err)
	}
	got, err := c.Snapshot(ctx, taken.SnapshotID)
	if err != nil {
		t.Fatal(err)
	}
	want := api.Snapshot{
		SnapshotID: taken.SnapshotID, SnapshotIDSnake: taken.SnapshotID, State: "ready", Name: "second", AccountID: string(alice),
		SourceVMID: string(id), SourceVMInstanceID: string(vm.Instance), CreatedAt: began,
		Persistence: api.Persistence{Type: "sticky", Priority: new(5)}, VCPUCount: 2, MemSizeMiB: 512, RootfsSizeMB: 4096,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	created, err := c.Create(ctx, api.CreateVM{VMSpec: api.VMSpec{SnapshotID: &taken.SnapshotID}})
	if err != nil || created.SnapshotID == nil || *created.SnapshotID != taken.SnapshotID {
		t.Errorf("%+v, %v", created, err)
	}
	deleted, err := c.DeleteSnapshot(ctx, taken.SnapshotID)
	if err != nil || deleted != (api.DeletedSnapshot{SnapshotID: taken.SnapshotID, SnapshotIDSnake: taken.SnapshotID}) {
		t.Errorf("%+v, %v", deleted, err)
	}
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		if a := h.do(method, "/v1/vms/snapshots/"+taken.SnapshotID, ""); a.status != 404 || a.code() != "SNAPSHOT_NOT_FOUND" || !strings.Contains(a.body, taken.SnapshotID) {
			t.Errorf("%s of a deleted snapshot: %d %s", method, a.status, a.body)
		}
	}
}

func TestSnapshotList(t *testing.T) {
	h := newHarness(t)
	c, ctx := h.client(), t.Context()
	if a := h.do("GET", "/v1/vms/snapshots", ""); !strings.Contains(a.body, `"snapshots":[]`) {
		t.Errorf("no snapshots: %s", a.body)
	}
	id := string(h.vms.add(coppice.VM{}))
	foreign := h.vms.add(coppice.VM{Account: bob})
	if _, err := h.vms.TakeSnapshot(ctx, bob, foreign, "bob's", coppice.Persistence{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two", "gone"} {
		taken, err := c.TakeSnapshot(ctx, id, api.TakeSnapshot{Name: &name, Persistence: &api.Persistence{Type: "persistent"}})
		if err != nil {
			t.Fatal(err)
		}
		if name == "gone" {
			if _, err := c.DeleteSnapshot(ctx, taken.SnapshotID); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, q := range []struct {
		deleted bool
		names   string
		counts  [3]int // total, ready, deleted
	}{
		{false, "one two", [3]int{2, 2, 0}},
		{true, "one two gone", [3]int{3, 2, 1}},
	} {
		list, err := c.Snapshots(ctx, q.deleted)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range list.Snapshots {
			names = append(names, s.Name)
			if s.Persistence.Type != "persistent" || s.Deleted != (s.Name == "gone") {
				t.Errorf("%+v", s)
			}
		}
		if counts := [3]int{list.TotalCount, list.ReadyCount, list.DeletedCount}; strings.Join(names, " ") != q.names || counts != q.counts {
			t.Errorf("deleted %v: %v, counts %v", q.deleted, names, counts)
		}
	}
	const all = "?includeDeleted=true&includeFailed=false&includeBuilding=true&includeCancelled=true&includeLost=true"
	if a := h.do("GET", "/v1/vms/snapshots"+all, ""); a.status != 200 || !strings.Contains(a.body, `"totalCount":3`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := h.do("GET", "/v1/vms/snapshots?includeDeleted=perhaps", ""); a.status != 400 || a.code() != "INVALID_REQUEST" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestSnapshotRefusals(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	for _, c := range []struct{ body, code string }{
		{`{"persistence":{"type":"ephemeral"}}`, "SNAPSHOT_VM_BAD_REQUEST"},
		{`{"persistence":{"type":"persistent","priority":1}}`, "SNAPSHOT_VM_BAD_REQUEST"},
		{`{"persistence":{"type":"forever"}}`, "INVALID_REQUEST"},
		{`{"name":5}`, "INVALID_REQUEST"},
	} {
		if a := h.do("POST", "/v1/vms/"+id+"/snapshot", c.body); a.status != 400 || a.code() != c.code {
			t.Errorf("%s: %d %s", c.body, a.status, a.body)
		}
	}
	if len(h.vms.captures) != 0 {
		t.Errorf("%d snapshots were taken", len(h.vms.captures))
	}
	for _, snapshot := range []string{"", "sc-x", "00000000000000000001", "sc-00000000000000000001x", "SC-00000000000000000001"} {
		if a := h.do("POST", "/v1/vms", `{"snapshotId":"`+snapshot+`"}`); a.status != 400 || a.code() != "INVALID_SNAPSHOT_ID" {
			t.Errorf("create from %q: %d %s", snapshot, a.status, a.body)
		}
	}
	// Another account's snapshot is one that does not exist.
	foreign := h.vms.add(coppice.VM{Account: bob})
	taken, err := h.vms.TakeSnapshot(t.Context(), bob, foreign, "", coppice.Persistence{})
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		if a := h.do(method, "/v1/vms/snapshots/"+string(taken.ID), ""); a.status != 404 || a.code() != "SNAPSHOT_NOT_FOUND" {
			t.Errorf("%s of another's snapshot: %d %s", method, a.status, a.body)
		}
	}
}
