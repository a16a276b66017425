package http

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

func (s *Server) tree(ctx context.Context, who caller, _ *struct{}) (api.Tree, error) {
	branches, err := s.config.VMs.Tree(ctx, who.Account)
	if err != nil {
		return api.Tree{}, err
	}
	tree := api.Tree{Nodes: []api.TreeNode{}}
	there := map[string]bool{}
	for i := range branches {
		node := shapeBranch(&branches[i])
		there[node.ID] = true
		tree.Nodes = append(tree.Nodes, node)
	}
	for i, b := range branches {
		switch {
		case b.Snapshot != nil:
			tree.Nodes[i].ParentID = string(b.Snapshot.Source)
		case there[string(b.VM.Snapshot)]: // else it is gone for good
			tree.Nodes[i].ParentID = string(b.VM.Snapshot)
		default:
			tree.Nodes[i].ParentID = string(b.VM.Parent)
		}
	}
	return tree, nil
}

// shapeBranch returns a branch as users see it, without its parent.
func shapeBranch(b *coppice.Branch) api.TreeNode {
	if c := b.Snapshot; c != nil {
		return api.TreeNode{
			ID: string(c.ID), Kind: "snapshot", Name: c.Name, State: snapshotReady, Deleted: !c.DeletedAt.IsZero(),
			CreatedAt: c.CreatedAt.UTC(), Disk: api.Footprint{OwnBytes: b.Disk.Own, SharedBytes: b.Disk.Shared},
		}
	}
	vm := shape(b.VM)
	node := api.TreeNode{
		ID: vm.ID, Kind: "vm", Name: vm.Name, State: vm.State, Deleted: vm.Deleted,
		CreatedAt: vm.CreatedAt, Disk: api.Footprint{OwnBytes: b.Disk.Own, SharedBytes: b.Disk.Shared},
	}
	if b.Memory != nil {
		node.Memory = &api.Footprint{OwnBytes: b.Memory.Own, SharedBytes: b.Memory.Shared}
	}
	return node
}
