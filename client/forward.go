package client

import (
	"context"
	"strconv"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/internal/wsconn"
)

// Dial connects to a TCP port of a VM, as user of the guest reaches it; empty is
// root. The caller closes the connection, which breaks when ctx ends.
func (c *Client) Dial(ctx context.Context, id, user string, port uint16) (*wsconn.Conn, error) {
	ws, err := c.webSocket(ctx, vmPath(id, "/forward/"+strconv.Itoa(int(port))), user)
	if err != nil {
		return nil, err
	}
	return wsconn.New(ctx, ws), nil
}

// Ingress says where the ports of VMs are by HTTP.
func (c *Client) Ingress(ctx context.Context) (api.Ingress, error) {
	return call[api.Ingress](ctx, c, "GET", "/v1/ingress", nil, "")
}
