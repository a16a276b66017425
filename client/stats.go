package client

import (
	"context"
	"strconv"
	"time"

	"github.com/coppice-vm/coppice/api"
)

// Stats calls got with what a VM takes of the host, at once and then at every
// interval, which the daemon brings between 100 ms and 10 s. It returns nil when the
// VM is deleted, and an error when ctx ends, the stream breaks off, or got returns one.
func (c *Client) Stats(ctx context.Context, id string, interval time.Duration, got func(api.Stats) error) error {
	path := vmPath(id, "/stats/stream") + "?interval_ms=" + strconv.FormatInt(interval.Milliseconds(), 10)
	return follow(ctx, c, request{method: "GET", path: path}, got, nil)
}
