package client

import (
	"context"
	"net/url"

	"github.com/coppice-vm/coppice/api"
)

// MapDomain has a host name lead to a port of a VM.
func (c *Client) MapDomain(ctx context.Context, name, vm string, port int) (api.Mapping, error) {
	return call[api.Mapping](ctx, c, "POST", mappingPath(name), api.MapDomain{VMID: &vm, VMPort: &port}, "")
}

// UnmapDomain has a host name lead nowhere.
func (c *Client) UnmapDomain(ctx context.Context, name string) (api.Empty, error) {
	return call[api.Empty](ctx, c, "DELETE", mappingPath(name), nil, "")
}

// Mappings lists what host names lead to VMs, by name.
func (c *Client) Mappings(ctx context.Context) ([]api.Mapping, error) {
	return call[[]api.Mapping](ctx, c, "GET", "/domains/v1/mappings", nil, "")
}

func mappingPath(name string) string { return "/domains/v1/mappings/" + url.PathEscape(name) }
