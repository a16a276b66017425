package http

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// sshGateway says where SSH is served.
func (s *Server) sshGateway(context.Context, caller, *struct{}) (api.SSHGateway, error) {
	if s.config.SSH.Port == 0 {
		return api.SSHGateway{}, coppice.Errorf(coppice.CodeNotFound, "there is no SSH gateway here: the daemon was started with --ssh-listen off")
	}
	return s.config.SSH, nil
}
