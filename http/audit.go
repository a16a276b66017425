package http

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// audit compares what the store says with what the host has, of all accounts.
func (s *Server) audit(ctx context.Context, _ caller, _ *struct{}) (api.Audit, error) {
	found, err := s.config.VMs.Audit(ctx, false)
	return ShapeAudit(found), err
}

func (s *Server) repair(ctx context.Context, _ caller, _ *struct{}) (api.Audit, error) {
	found, err := s.config.VMs.Audit(ctx, true)
	return ShapeAudit(found), err
}

// ShapeAudit returns discrepancies as users see them.
func ShapeAudit(found []coppice.Discrepancy) api.Audit {
	audit := api.Audit{Discrepancies: make([]api.Discrepancy, len(found))}
	for i, d := range found {
		audit.Discrepancies[i] = api.Discrepancy{
			Missing: d.Missing, Kind: string(d.Kind), Name: d.Name, VMID: string(d.VM), SnapshotID: string(d.Capture),
			Text: d.Text, Fix: d.Fix, Repairable: d.Repairable, Repaired: d.Repaired,
		}
		if d.Err != nil {
			audit.Discrepancies[i].Error = d.Err.Error()
		}
	}
	return audit
}
