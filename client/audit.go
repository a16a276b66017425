package client

import (
	"context"

	"github.com/coppice-vm/coppice/api"
)

// Audit compares what the store says with what the host has. It takes a key
// that may manage accounts.
func (c *Client) Audit(ctx context.Context) (api.Audit, error) {
	return call[api.Audit](ctx, c, "GET", "/v1/audit", nil, "")
}

// Repair is Audit, and mends what can be mended without harm.
func (c *Client) Repair(ctx context.Context) (api.Audit, error) {
	return call[api.Audit](ctx, c, "POST", "/v1/audit/repair", nil, "")
}
