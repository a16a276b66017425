package http

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

func TestTree(t *testing.T) {
	h := newHarness(t)
	if a := h.do("GET", "/v1/tree", ""); !strings.Contains(a.body, `"nodes":[]`) {
		t.Errorf("no VMs: %d %s", a.status, a.body)
	}
	const snapshot, lost = coppice.CaptureID("sc-00000000000000000001"), coppice.CaptureID("sc-00000000000000000002")
	root := coppice.VM{ID: coppice.NewVMID(), Account: alice, State: coppice.Absent, CreatedAt: began, DeletedAt: began}
	fork := coppice.VM{ID: coppice.NewVMID(), Account: alice, Name: "fork", State: coppice.Running, Parent: root.ID, CreatedAt: began}
	made := coppice.VM{ID: coppice.NewVMID(), Account: alice, State: coppice.Suspended, Snapshot: snapshot, CreatedAt: began}
	orphan := coppice.VM{ID: coppice.NewVMID(), Account: alice, State: coppice.Failed, Snapshot: lost, CreatedAt: began}
	h.vms.tree = []coppice.Branch{
		{VM: &root},
		{VM: &fork, Memory: &coppice.Footprint{Own: 1, Shared: 2}, Disk: coppice.Footprint{Own: 3, Shared: 4}},
		{VM: &made, Disk: coppice.Footprint{Own: 5}},
		{VM: &orphan},
		{Snapshot: &coppice.Capture{ID: snapshot, Account: alice, Name: "s", Source: fork.ID, CreatedAt: began, DeletedAt: began}, Disk: coppice.Footprint{Shared: 6}},
	}
	got, err := h.client().Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := api.Tree{Nodes: []api.TreeNode{
		{ID: string(root.ID), Kind: "vm", State: api.Stopped, Deleted: true, CreatedAt: began},
		{ID: string(fork.ID), Kind: "vm", ParentID: string(root.ID), Name: "fork", State: api.Running, CreatedAt: began,
			Memory: &api.Footprint{OwnBytes: 1, SharedBytes: 2}, Disk: api.Footprint{OwnBytes: 3, SharedBytes: 4}},
		{ID: string(made.ID), Kind: "vm", ParentID: string(snapshot), State: api.Suspended, CreatedAt: began, Disk: api.Footprint{OwnBytes: 5}},
		{ID: string(orphan.ID), Kind: "vm", State: api.Lost, CreatedAt: began},
		{ID: string(snapshot), Kind: "snapshot", ParentID: string(fork.ID), Name: "s", State: "ready", Deleted: true, CreatedAt: began,
			Disk: api.Footprint{SharedBytes: 6}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
