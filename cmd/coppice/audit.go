package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"text/tabwriter"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/hostnet"
	"github.com/coppice-vm/coppice/http"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/lifecycle"
	"github.com/coppice-vm/coppice/pool"
	"github.com/coppice-vm/coppice/qemu"
	"github.com/coppice-vm/coppice/sqlite"
)

// audit says how what this machine has differs from what the store says, and
// mends what is safe if repair is set.
func (m *Main) audit(ctx context.Context, repair bool) error {
	found, err := m.lookAt(ctx, repair)
	if err != nil {
		return err
	}
	left := 0
	for _, d := range found.Discrepancies {
		if !d.Repaired {
			left++
		}
	}
	err = m.print(found, func(w *tabwriter.Writer) {
		for _, d := range found.Discrepancies {
			describeDiscrepancy(w, &d)
		}
		fmt.Fprintf(w, "discrepancies: %d, repaired: %d\n", len(found.Discrepancies), len(found.Discrepancies)-left)
	})
	if err == nil && left > 0 {
		err = exitStatus(1)
	}
	return err
}

func describeDiscrepancy(w *tabwriter.Writer, d *api.Discrepancy) {
	mark := "SURPLUS"
	if d.Missing {
		mark = "MISSING"
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", mark, d.Kind, cmp.Or(d.VMID, d.SnapshotID, "-"), cmp.Or(d.Name, "-"))
	fmt.Fprintf(w, "\t%s\n", d.Text)
	switch {
	case d.Repaired:
		fmt.Fprintln(w, "\trepaired")
	case d.Error != "":
		fmt.Fprintf(w, "\tcould not be repaired: %s\n", d.Error)
	default:
		fmt.Fprintf(w, "\tto mend it: %s\n", d.Fix)
	}
}

// lookAt has the daemon look, which knows best what it is doing. Where none runs,
// and no other was named, this program does, and changes nothing.
func (m *Main) lookAt(ctx context.Context, repair bool) (api.Audit, error) {
	if m.told().URL == "" {
		_, err := m.config.dir().Daemon()
		switch {
		case errors.Is(err, host.ErrNoDaemon) && repair:
			return api.Audit{}, errors.New("a repair is the daemon's, and none runs here: coppice up starts it, which repairs most things by itself")
		case errors.Is(err, host.ErrNoDaemon):
			found, err := m.inspect(ctx)
			return http.ShapeAudit(found), err
		case err != nil:
			return api.Audit{}, err
		}
	}
	c, err := m.client()
	if err != nil {
		return api.Audit{}, err
	}
	defer c.Close()
	if repair {
		return c.Repair(ctx)
	}
	return c.Audit(ctx)
}

// inspect looks at a data directory that nobody serves.
func (m *Main) inspect(ctx context.Context) ([]coppice.Discrepancy, error) {
	dir := m.config.dir()
	if _, err := os.Stat(dir.Database()); err != nil {
		return nil, fmt.Errorf("nothing is set up here: %w", err)
	}
	image, err := dir.Image()
	if err != nil {
		return nil, err
	}
	db, err := sqlite.Open(ctx, dir.Database())
	if err != nil {
		return nil, err
	}
	defer db.Close()
	vmm := qemu.New(qemu.Config{RunDir: dir.Run(), Log: slog.New(slog.DiscardHandler)})
	defer vmm.Close()
	network := hostnet.New(hostnet.Config{Dir: dir.Networks()})
	defer network.Close()
	return lifecycle.Inspect(ctx, lifecycle.Config{
		Store: db, Captures: db, Hypervisor: vmm, Pool: pool.At(dir.Pool()), Network: network, Places: []coppice.Inspector{dir}, Image: image,
	})
}
