package http

import (
	"context"
	"runtime"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

func (s *Server) host(ctx context.Context, _ caller, _ *struct{}) (api.Host, error) {
	h, err := s.config.VMs.Host(ctx)
	if err != nil {
		return api.Host{}, err
	}
	return api.Host{
		Version: s.config.Version, VMM: h.VMM, CPUCount: runtime.NumCPU(),
		MemoryMiB: h.MemoryMiB, FreeMemoryMiB: h.FreeMemoryMiB, StorageMiB: h.StorageMiB, FreeStorageMiB: h.FreeStorageMiB,
		RunningVMs: h.Running, RunningMemSizeMiB: h.RunningMiB,
		Spares: h.Spares, SparesWanted: h.SparesWanted, Husks: h.Husks, HusksWanted: h.HusksWanted,
	}, nil
}

func (s *Server) doctor(ctx context.Context, _ caller, _ *struct{}) (api.Findings, error) {
	if s.config.Doctor == nil {
		return api.Findings{}, coppice.Errorf(coppice.CodeNotFound, "this daemon has no doctor")
	}
	return api.Findings{Findings: s.config.Doctor(ctx)}, nil
}
