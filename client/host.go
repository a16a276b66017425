package client

import (
	"context"
	"io"

	"github.com/coppice-vm/coppice/api"
)

// Host says what the host has, and what VMs take of it. It takes a key that may
// manage accounts.
func (c *Client) Host(ctx context.Context) (api.Host, error) {
	return call[api.Host](ctx, c, "GET", "/v1/host", nil, "")
}

// Metrics returns what the daemon has counted, in Prometheus's text format. It
// takes a key that may manage accounts.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	resp, err := c.send(ctx, request{method: "GET", path: "/metrics"})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}
