package http

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

func (s *Server) limits(ctx context.Context, who caller, _ *struct{}) (api.Limits, error) {
	l, u, err := s.config.VMs.Limits(ctx, who.Account)
	if err != nil {
		return api.Limits{}, err
	}
	return api.Limits{
		Limits: api.AccountLimits{
			VMs:             limit(l.VMs),
			RunningVMs:      limit(l.Running),
			VCPUCountPerVM:  limit(l.Each.VCPUs),
			MemSizeMiBPerVM: limit(l.Each.MemoryMiB),
			RootfsSizePerVM: limit(l.Each.DiskMiB),
			VCPUCount:       limit(l.Sum.VCPUs),
			MemSizeMiB:      limit(l.Sum.MemoryMiB),
			RootfsSizeMB:    limit(l.Sum.DiskMiB),
			Snapshots:       limit(l.Snapshots),
			PTYsPerVM:       limit(l.PTYs),
		},
		Usage: api.AccountUsage{
			VMs:          int64(u.VMs),
			RunningVMs:   int64(u.Running),
			VCPUCount:    int64(u.Sum.VCPUs),
			MemSizeMiB:   u.Sum.MemoryMiB,
			RootfsSizeMB: u.Sum.DiskMiB,
			Snapshots:    int64(u.Snapshots),
		},
	}, nil
}

// limit returns a limit as users see it: nil is none.
func limit[N int | int64](n N) *int64 {
	if n == coppice.NoLimit {
		return nil
	}
	return new(int64(n))
}
