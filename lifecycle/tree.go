package lifecycle

import (
	"context"
	"errors"

	"github.com/coppice-vm/coppice"
)

// Tree returns an account's VMs and snapshots with what each takes of the host:
// VMs first, oldest first. A VM that has been deleted is there, and takes
// nothing, if one that has not comes from it.
func (m *Manager) Tree(ctx context.Context, account coppice.AccountID) ([]coppice.Branch, error) {
	tree, err := m.tree(ctx, account)
	if err != nil {
		return nil, err
	}
	for i := range tree {
		if tree[i].VM == nil || tree[i].VM.Deleted() {
			continue
		}
		f, err := m.Hypervisor.MemoryFootprint(ctx, tree[i].VM.ID)
		switch {
		case err == nil:
			tree[i].Memory = &f
		case !errors.Is(err, coppice.ErrNoRun):
			return nil, err
		}
	}
	return tree, nil
}

// tree returns an account's branches, or for the empty account everyone's,
// without their memory.
func (m *Manager) tree(ctx context.Context, account coppice.AccountID) ([]coppice.Branch, error) {
	vms, err := m.VMs(ctx, account, true)
	if err != nil {
		return nil, err
	}
	captures, err := m.Captures.Captures(ctx, account)
	if err != nil {
		return nil, err
	}
	tree := branches(vms, captures)
	return tree, m.measureDisks(ctx, tree, captures)
}

// branches returns the snapshots, and the VMs that have not been deleted or that
// something comes from.
func branches(vms []coppice.VM, captures []coppice.Capture) []coppice.Branch {
	snapshots := map[coppice.CaptureID]*coppice.Capture{}
	for i, c := range captures {
		if isSnapshot(c) {
			snapshots[c.ID] = &captures[i]
		}
	}
	parents := map[coppice.VMID]coppice.VMID{}
	for _, vm := range vms {
		parents[vm.ID] = vm.Parent
		if c := snapshots[vm.Snapshot]; c != nil {
			parents[vm.ID] = c.Source
		}
	}
	needed := map[coppice.VMID]bool{}
	need := func(id coppice.VMID) {
		for ; id != "" && !needed[id]; id = parents[id] {
			needed[id] = true
		}
	}
	for _, vm := range vms {
		if !vm.Deleted() {
			need(vm.ID)
		}
	}
	for _, c := range snapshots {
		need(c.Source)
	}
	var tree []coppice.Branch
	for i, vm := range vms {
		if needed[vm.ID] {
			tree = append(tree, coppice.Branch{VM: &vms[i]})
		}
	}
	for i, c := range captures {
		if isSnapshot(c) {
			tree = append(tree, coppice.Branch{Snapshot: &captures[i]})
		}
	}
	return tree
}

// measureDisks measures what is stored of the branches, given the account's captures.
func (m *Manager) measureDisks(ctx context.Context, tree []coppice.Branch, captures []coppice.Capture) error {
	known := map[coppice.CaptureID]bool{"": true}
	for _, c := range captures {
		known[c.ID] = c.Account != coppice.SystemAccount
	}
	things := make([][]string, len(tree))
	var templates []string // one more thing: that a single VM began as one does not make it the VM's
	for i, b := range tree {
		switch {
		case b.Snapshot != nil:
			things[i] = m.storedOf(b.Snapshot.ID)
		case !b.VM.Deleted():
			things[i] = append(m.storedOf(b.VM.Base), m.Pool.VM(b.VM.ID).Disk)
			if !known[b.VM.Base] {
				templates = append(templates, m.storedOf(b.VM.Base)...)
			}
		}
	}
	footprints, err := m.Pool.DiskFootprints(ctx, append(things, templates))
	if err != nil {
		return err
	}
	for i := range tree {
		tree[i].Disk = footprints[i]
	}
	return nil
}

// storedOf names the files of a capture; none if it is empty.
func (m *Manager) storedOf(id coppice.CaptureID) []string {
	if id == "" {
		return nil
	}
	files := m.Pool.Capture(id)
	return []string{files.Memory, files.State, files.Disk}
}
