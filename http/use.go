package http

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/confine"
)

// use returns the session of a VM, in which who may act as the users that are
// granted. Whoever works in a guest gets in here. by says what for; until release
// the VM is in use.
func (s *Server) use(ctx context.Context, who caller, vmID, by string) (session coppice.Session, release func(), err error) {
	id, err := parseVMID(vmID)
	if err != nil {
		return nil, nil, err
	}
	return confine.Use(ctx, s.config.VMs, who, id, by)
}
