package client

import (
	"context"

	"github.com/coppice-vm/coppice/api"
)

// SSHGateway says where SSH is served.
func (c *Client) SSHGateway(ctx context.Context) (api.SSHGateway, error) {
	return call[api.SSHGateway](ctx, c, "GET", "/v1/ssh", nil, "")
}
