package http

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// snapshotInput is a request about one snapshot.
type snapshotInput struct {
	SnapshotID string `path:"snapshot_id" doc:"sc- and 20 characters of a-z and 0-9"`
}

// parseSnapshotID returns an error if there can be no snapshot of that id.
func parseSnapshotID(s string) (coppice.CaptureID, error) {
	id := coppice.CaptureID(s)
	if !id.Valid() {
		return "", coppice.Errorf(coppice.CodeInvalidSnapID, "%q is not the id of a snapshot: that is sc- and 20 characters of a-z and 0-9", s)
	}
	return id, nil
}

type snapshotVMInput struct {
	VMID string `path:"vm_id" doc:"20 characters of a-z and 0-9"`
	Body api.TakeSnapshot
}

func (s *Server) snapshotVM(ctx context.Context, who caller, in *snapshotVMInput) (api.SnapshotTaken, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.SnapshotTaken{}, err
	}
	p, err := persistence(in.Body.Persistence, coppice.CodeSnapBadRequest)
	if err != nil {
		return api.SnapshotTaken{}, err
	}
	if p.Type == coppice.Ephemeral {
		return api.SnapshotTaken{}, coppice.Errorf(coppice.CodeSnapBadRequest, "a snapshot is sticky or persistent; it does not run, so no event would delete it")
	}
	name := ""
	if in.Body.Name != nil {
		name = *in.Body.Name
	}
	c, err := s.config.VMs.TakeSnapshot(ctx, who.Account, id, name, p)
	return api.SnapshotTaken{SnapshotID: string(c.ID), SourceVMID: string(c.Source), SourceVMInstanceID: string(c.Instance)}, err
}

// snapshotsInput is a query. There are never snapshots that the other four
// members would include: what could not be taken leaves none.
type snapshotsInput struct {
	IncludeDeleted   bool `query:"includeDeleted" doc:"Those too that are kept only for the VMs that still need them"`
	IncludeFailed    bool `query:"includeFailed"`
	IncludeBuilding  bool `query:"includeBuilding"`
	IncludeCancelled bool `query:"includeCancelled"`
	IncludeLost      bool `query:"includeLost"`
}

func (s *Server) listSnapshots(ctx context.Context, who caller, in *snapshotsInput) (api.SnapshotList, error) {
	snapshots, err := s.config.VMs.Snapshots(ctx, who.Account)
	if err != nil {
		return api.SnapshotList{}, err
	}
	list := api.SnapshotList{Snapshots: []api.Snapshot{}}
	for i := range snapshots {
		snapshot := shapeSnapshot(&snapshots[i])
		switch {
		case !snapshot.Deleted:
			list.ReadyCount++
		case in.IncludeDeleted:
			list.DeletedCount++
		default:
			continue
		}
		list.TotalCount++
		list.Snapshots = append(list.Snapshots, snapshot)
	}
	return list, nil
}

func (s *Server) getSnapshot(ctx context.Context, who caller, in *snapshotInput) (api.Snapshot, error) {
	id, err := parseSnapshotID(in.SnapshotID)
	if err != nil {
		return api.Snapshot{}, err
	}
	c, err := s.config.VMs.Snapshot(ctx, who.Account, id)
	if err != nil {
		return api.Snapshot{}, err
	}
	return shapeSnapshot(&c), nil
}

type updateSnapshotInput struct {
	SnapshotID string `path:"snapshot_id" doc:"sc- and 20 characters of a-z and 0-9"`
	Body       api.UpdateSnapshot
}

func (s *Server) updateSnapshot(ctx context.Context, who caller, in *updateSnapshotInput) (api.UpdatedSnapshot, error) {
	id, err := parseSnapshotID(in.SnapshotID)
	if err != nil {
		return api.UpdatedSnapshot{}, err
	}
	var c coppice.Capture
	if in.Body.Name != nil {
		c, err = s.config.VMs.RenameSnapshot(ctx, who.Account, id, *in.Body.Name)
	} else {
		c, err = s.config.VMs.Snapshot(ctx, who.Account, id)
	}
	return api.UpdatedSnapshot{SnapshotID: string(id), SnapshotIDSnake: string(id), Name: c.Name}, err
}

func (s *Server) deleteSnapshot(ctx context.Context, who caller, in *snapshotInput) (api.DeletedSnapshot, error) {
	id, err := parseSnapshotID(in.SnapshotID)
	if err != nil {
		return api.DeletedSnapshot{}, err
	}
	err = s.config.VMs.DeleteSnapshot(ctx, who.Account, id)
	return api.DeletedSnapshot{SnapshotID: string(id), SnapshotIDSnake: string(id)}, err
}

// snapshotReady is the state of every snapshot there is.
const snapshotReady = "ready"

// shapeSnapshot returns a snapshot as users see it.
func shapeSnapshot(c *coppice.Capture) api.Snapshot {
	return api.Snapshot{
		SnapshotID:         string(c.ID),
		SnapshotIDSnake:    string(c.ID),
		State:              snapshotReady,
		Name:               c.Name,
		AccountID:          string(c.Account),
		SourceVMID:         string(c.Source),
		SourceVMInstanceID: string(c.Instance),
		CreatedAt:          c.CreatedAt.UTC(),
		Deleted:            !c.DeletedAt.IsZero(),
		Persistence:        *shapePersistence(&c.Persistence),
		VCPUCount:          c.Size.VCPUs,
		MemSizeMiB:         c.Size.MemoryMiB,
		RootfsSizeMB:       c.Size.DiskMiB,
	}
}
