//go:build failpoints

package failports

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

var (
	poolImage          = failpoint.New("Pool.Image")
	poolClone          = newEffect("Pool.Clone")
	poolCreateVM       = newEffect("Pool.CreateVM")
	poolSyncVM         = newEffect("Pool.SyncVM")
	poolResizeVM       = newEffect("Pool.ResizeVM")
	poolRemoveVM       = newEffect("Pool.RemoveVM")
	poolVMs            = failpoint.New("Pool.VMs")
	poolBeginCapture   = newEffect("Pool.BeginCapture")
	poolCommitCapture  = newEffect("Pool.CommitCapture")
	poolSyncCapture    = newEffect("Pool.SyncCapture")
	poolTrimCapture    = newEffect("Pool.TrimCapture")
	poolRemoveCapture  = newEffect("Pool.RemoveCapture")
	poolCaptures       = failpoint.New("Pool.Captures")
	poolDiskFootprints = failpoint.New("Pool.DiskFootprints")
)

type pool struct {
	coppice.Pool
	life *failpoint.Life
}

// Pool puts points around a pool.
func Pool(life *failpoint.Life, p coppice.Pool) coppice.Pool { return pool{p, life} }

func (p pool) Image(ctx context.Context, id coppice.ImageID) (coppice.Image, error) {
	return look(ctx, p.life, poolImage, func(ctx context.Context) (coppice.Image, error) {
		return p.Pool.Image(ctx, id)
	})
}

func (p pool) Clone(ctx context.Context, dst string, src string) error {
	return carry(ctx, p.life, poolClone, func(ctx context.Context) error {
		return p.Pool.Clone(ctx, dst, src)
	})
}

func (p pool) CreateVM(ctx context.Context, id coppice.VMID, disk string, size coppice.Size) (coppice.VMFiles, error) {
	return act(ctx, p.life, poolCreateVM, func(ctx context.Context) (coppice.VMFiles, error) {
		return p.Pool.CreateVM(ctx, id, disk, size)
	})
}

func (p pool) SyncVM(ctx context.Context, id coppice.VMID) error {
	return carry(ctx, p.life, poolSyncVM, func(ctx context.Context) error {
		return p.Pool.SyncVM(ctx, id)
	})
}

func (p pool) ResizeVM(ctx context.Context, id coppice.VMID, size coppice.Size) error {
	return carry(ctx, p.life, poolResizeVM, func(ctx context.Context) error {
		return p.Pool.ResizeVM(ctx, id, size)
	})
}

func (p pool) RemoveVM(ctx context.Context, id coppice.VMID) error {
	return carry(ctx, p.life, poolRemoveVM, func(ctx context.Context) error {
		return p.Pool.RemoveVM(ctx, id)
	})
}

func (p pool) VMs(ctx context.Context) ([]coppice.VMID, error) {
	return look(ctx, p.life, poolVMs, func(ctx context.Context) ([]coppice.VMID, error) {
		return p.Pool.VMs(ctx)
	})
}

func (p pool) BeginCapture(ctx context.Context, id coppice.CaptureID) (coppice.CaptureFiles, error) {
	return act(ctx, p.life, poolBeginCapture, func(ctx context.Context) (coppice.CaptureFiles, error) {
		return p.Pool.BeginCapture(ctx, id)
	})
}

func (p pool) CommitCapture(ctx context.Context, id coppice.CaptureID) (coppice.CaptureFiles, error) {
	return act(ctx, p.life, poolCommitCapture, func(ctx context.Context) (coppice.CaptureFiles, error) {
		return p.Pool.CommitCapture(ctx, id)
	})
}

func (p pool) SyncCapture(ctx context.Context, id coppice.CaptureID) error {
	return carry(ctx, p.life, poolSyncCapture, func(ctx context.Context) error {
		return p.Pool.SyncCapture(ctx, id)
	})
}

func (p pool) TrimCapture(ctx context.Context, id coppice.CaptureID) error {
	return carry(ctx, p.life, poolTrimCapture, func(ctx context.Context) error {
		return p.Pool.TrimCapture(ctx, id)
	})
}

func (p pool) RemoveCapture(ctx context.Context, id coppice.CaptureID) error {
	return carry(ctx, p.life, poolRemoveCapture, func(ctx context.Context) error {
		return p.Pool.RemoveCapture(ctx, id)
	})
}

func (p pool) Captures(ctx context.Context) ([]coppice.CaptureID, error) {
	return look(ctx, p.life, poolCaptures, func(ctx context.Context) ([]coppice.CaptureID, error) {
		return p.Pool.Captures(ctx)
	})
}

func (p pool) DiskFootprints(ctx context.Context, things [][]string) ([]coppice.Footprint, error) {
	return look(ctx, p.life, poolDiskFootprints, func(ctx context.Context) ([]coppice.Footprint, error) {
		return p.Pool.DiskFootprints(ctx, things)
	})
}
