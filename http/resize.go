package http

import (
	"context"
	"math"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

type resizeInput struct {
	VMID string `path:"vm_id" doc:"20 characters of a-z and 0-9"`
	Body api.ResizeVM
}

func (s *Server) resizeVM(ctx context.Context, who caller, in *resizeInput) (api.Empty, error) {
	id, err := parseVMID(in.VMID)
	if err != nil {
		return api.Empty{}, err
	}
	_, err = s.config.VMs.Resize(ctx, who.Account, id, resizeSpec(&in.Body))
	return api.Empty{}, err
}

// resizeSpec returns what a resize asks for. Whether a VM can have it is for
// others to say.
func resizeSpec(body *api.ResizeVM) coppice.ResizeSpec {
	spec := coppice.ResizeSpec{VCPUs: body.VCPUCount}
	if body.MemSizeGb != nil {
		n := *body.MemSizeGb * 1024
		memory := clamp(n)
		if n != math.Trunc(n) {
			memory |= 1 // no power of two, as it was none
		}
		spec.MemoryMiB = &memory
	}
	if body.RootfsSizeGb != nil {
		spec.DiskMiB = new(clamp(math.Ceil(*body.RootfsSizeGb * 1024)))
	}
	spec.DiscardMemory = body.DiscardMemory != nil && *body.DiscardMemory
	return spec
}

// clamp returns n as an integer that can be reckoned with, however large it was.
func clamp(n float64) int64 {
	const most = 1 << 40
	return int64(max(-most, min(n, most)))
}
