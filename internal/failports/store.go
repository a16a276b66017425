//go:build failpoints

package failports

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

var (
	storeInsertVM = newEffect("Store.InsertVM")
	storeVM       = failpoint.New("Store.VM")
	storeVMs      = failpoint.New("Store.VMs")
	storeUpdateVM = newEffect("Store.UpdateVM")
)

type store struct {
	coppice.Store
	life *failpoint.Life
}

// Store puts points around a store; nil is the life of the process, here and below.
func Store(life *failpoint.Life, s coppice.Store) coppice.Store { return store{s, life} }

func (s store) InsertVM(ctx context.Context, vm coppice.VM) error {
	return carry(ctx, s.life, storeInsertVM, func(ctx context.Context) error {
		return s.Store.InsertVM(ctx, vm)
	})
}

func (s store) VM(ctx context.Context, id coppice.VMID) (coppice.VM, error) {
	return look(ctx, s.life, storeVM, func(ctx context.Context) (coppice.VM, error) {
		return s.Store.VM(ctx, id)
	})
}

func (s store) VMs(ctx context.Context, filter coppice.VMFilter) ([]coppice.VM, error) {
	return look(ctx, s.life, storeVMs, func(ctx context.Context) ([]coppice.VM, error) {
		return s.Store.VMs(ctx, filter)
	})
}

func (s store) UpdateVM(ctx context.Context, id coppice.VMID, change func(*coppice.VM) error, events ...coppice.Event) (coppice.VM, error) {
	return act(ctx, s.life, storeUpdateVM, func(ctx context.Context) (coppice.VM, error) {
		return s.Store.UpdateVM(ctx, id, change, events...)
	})
}

var (
	capturesInsertCapture = newEffect("Captures.InsertCapture")
	capturesCapture       = failpoint.New("Captures.Capture")
	capturesCaptures      = failpoint.New("Captures.Captures")
	capturesUpdateCapture = newEffect("Captures.UpdateCapture")
	capturesDropCapture   = newEffect("Captures.DropCapture")
)

type captures struct {
	kept coppice.Captures
	life *failpoint.Life
}

// Captures puts points around what remembers captures.
func Captures(life *failpoint.Life, c coppice.Captures) coppice.Captures { return captures{c, life} }

func (w captures) InsertCapture(ctx context.Context, c coppice.Capture) error {
	return carry(ctx, w.life, capturesInsertCapture, func(ctx context.Context) error {
		return w.kept.InsertCapture(ctx, c)
	})
}

func (c captures) Capture(ctx context.Context, id coppice.CaptureID) (coppice.Capture, error) {
	return look(ctx, c.life, capturesCapture, func(ctx context.Context) (coppice.Capture, error) {
		return c.kept.Capture(ctx, id)
	})
}

func (c captures) Captures(ctx context.Context, account coppice.AccountID) ([]coppice.Capture, error) {
	return look(ctx, c.life, capturesCaptures, func(ctx context.Context) ([]coppice.Capture, error) {
		return c.kept.Captures(ctx, account)
	})
}

func (c captures) UpdateCapture(ctx context.Context, id coppice.CaptureID, change func(*coppice.Capture) error) (coppice.Capture, error) {
	return act(ctx, c.life, capturesUpdateCapture, func(ctx context.Context) (coppice.Capture, error) {
		return c.kept.UpdateCapture(ctx, id, change)
	})
}

func (c captures) DropCapture(ctx context.Context, id coppice.CaptureID) error {
	return carry(ctx, c.life, capturesDropCapture, func(ctx context.Context) error {
		return c.kept.DropCapture(ctx, id)
	})
}

var (
	gaugeCapacity = failpoint.New("Gauge.Capacity")
)

type gauge struct {
	coppice.Gauge
	life *failpoint.Life
}

// Gauge puts a point before every look at the gauge.
func Gauge(life *failpoint.Life, g coppice.Gauge) coppice.Gauge { return gauge{g, life} }

func (g gauge) Capacity(ctx context.Context) (coppice.Capacity, error) {
	return look(ctx, g.life, gaugeCapacity, func(ctx context.Context) (coppice.Capacity, error) {
		return g.Gauge.Capacity(ctx)
	})
}
