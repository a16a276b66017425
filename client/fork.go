package client

import (
	"context"
	"net/url"

	"github.com/coppice-vm/coppice/api"
)

// Fork makes VMs that go on from where a VM is now, which runs on, and returns
// when they can be used. It fails only if all of them did.
func (c *Client) Fork(ctx context.Context, id string, spec api.ForkVM) (api.Forked, error) {
	return call[api.Forked](ctx, c, "POST", vmPath(id, "/fork"), spec, "")
}

// Tree returns where VMs and snapshots come from, and what they take of the host.
func (c *Client) Tree(ctx context.Context) (api.Tree, error) {
	return call[api.Tree](ctx, c, "GET", "/v1/tree", nil, "")
}

// Suspend keeps what a running VM is and ends its process; Start goes on from there.
func (c *Client) Suspend(ctx context.Context, id string) (api.SuspendedVM, error) {
	return call[api.SuspendedVM](ctx, c, "POST", vmPath(id, "/suspend"), nil, "")
}

// Optimize gives back what a VM keeps and does not need, if there is something.
func (c *Client) Optimize(ctx context.Context, id string) (api.OptimizedVM, error) {
	return call[api.OptimizedVM](ctx, c, "POST", vmPath(id, "/optimize"), nil, "")
}

// TakeSnapshot keeps what a VM is now under an id of its own. The VM goes on.
func (c *Client) TakeSnapshot(ctx context.Context, id string, spec api.TakeSnapshot) (api.SnapshotTaken, error) {
	return call[api.SnapshotTaken](ctx, c, "POST", vmPath(id, "/snapshot"), spec, "")
}

// Snapshots lists snapshots, oldest first; with deleted, those too that are
// kept only for the VMs that still need them.
func (c *Client) Snapshots(ctx context.Context, deleted bool) (api.SnapshotList, error) {
	path := "/v1/vms/snapshots"
	if deleted {
		path += "?includeDeleted=true"
	}
	return call[api.SnapshotList](ctx, c, "GET", path, nil, "")
}

// Snapshot returns what is known about a snapshot.
func (c *Client) Snapshot(ctx context.Context, id string) (api.Snapshot, error) {
	return call[api.Snapshot](ctx, c, "GET", snapshotPath(id), nil, "")
}

// RenameSnapshot gives a snapshot another name, which may be empty.
func (c *Client) RenameSnapshot(ctx context.Context, id, name string) (api.UpdatedSnapshot, error) {
	return call[api.UpdatedSnapshot](ctx, c, "PATCH", snapshotPath(id), api.UpdateSnapshot{Name: &name}, "")
}

// DeleteSnapshot deletes a snapshot. VMs that came from it go on.
func (c *Client) DeleteSnapshot(ctx context.Context, id string) (api.DeletedSnapshot, error) {
	return call[api.DeletedSnapshot](ctx, c, "DELETE", snapshotPath(id), nil, "")
}

func snapshotPath(id string) string { return "/v1/vms/snapshots/" + url.PathEscape(id) }
