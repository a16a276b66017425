package http

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

type forkInput struct {
	VMID string `path:"vm_id" doc:"20 characters of a-z and 0-9"`
	Body api.ForkVM
}

// forkVM answers with the forks that worked, and fails only if none did.
func (s *Server) forkVM(ctx context.Context, who caller, in *forkInput) (api.Forked, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.Forked{}, err
	}
	spec, err := forkSpec(&in.Body)
	if err != nil {
		return api.Forked{}, err
	}
	forks, err := s.config.VMs.Fork(ctx, who.Account, id, spec)
	if err != nil {
		return api.Forked{}, err
	}
	forked := api.Forked{VMID: string(id), Forks: []api.Fork{}}
	for _, f := range forks {
		if f.Err != nil {
			e := translate(f.Err).err
			forked.Errors = append(forked.Errors, api.ForkError{Code: string(e.Code), Message: e.Message})
			continue
		}
		forked.Forks = append(forked.Forks, api.Fork{ID: string(f.VM.ID), Domains: []string{}})
	}
	if len(forked.Forks) == 0 {
		return api.Forked{}, forks[0].Err
	}
	return forked, nil
}

// forkSpec returns what a fork asks for.
func forkSpec(body *api.ForkVM) (coppice.ForkSpec, error) {
	spec := coppice.ForkSpec{Count: 1}
	if body.Count != nil {
		spec.Count = *body.Count
	}
	if body.Name != nil {
		spec.Name = *body.Name
	}
	if body.Persistence != nil {
		p, err := persistence(body.Persistence, coppice.CodeInvalidRequest)
		if err != nil {
			return spec, err
		}
		spec.Persistence = &p
	}
	if body.Start != nil {
		spec.LeaveStopped = !*body.Start
	}
	var err error
	spec.IdleTimeout, err = idleTimeout(body.IdleTimeoutSeconds, coppice.CodeInvalidRequest)
	return spec, err
}

func (s *Server) suspendVM(ctx context.Context, who caller, in *vmInput) (api.SuspendedVM, error) {
	vm, err := change(ctx, who, in, s.config.VMs.Suspend)
	return api.SuspendedVM{ID: string(vm.ID), VMInstanceID: string(vm.Instance), SnapshotLayerID: string(vm.Base)}, err
}

func (s *Server) optimizeVM(ctx context.Context, who caller, in *vmInput) (api.OptimizedVM, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.OptimizedVM{}, err
	}
	did, err := s.config.VMs.Optimize(ctx, who.Account, id)
	return api.OptimizedVM{ID: string(id), Message: did}, err
}
