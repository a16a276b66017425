package client

import (
	"context"

	"github.com/coppice-vm/coppice/api"
)

// Network says what a VM may reach, and what has gone to and from it.
func (c *Client) Network(ctx context.Context, id string) (api.Network, error) {
	return call[api.Network](ctx, c, "GET", vmPath(id, "/network"), nil, "")
}

// SetNetwork changes what a VM may reach, at once.
func (c *Client) SetNetwork(ctx context.Context, id string, set api.SetNetwork) (api.Network, error) {
	return call[api.Network](ctx, c, "PUT", vmPath(id, "/network"), set, "")
}

// SetIngress says who may visit what a VM serves on the web, at once.
func (c *Client) SetIngress(ctx context.Context, id string, set api.SetIngress) (api.VM, error) {
	return call[api.VM](ctx, c, "PUT", vmPath(id, "/ingress"), set, "")
}
