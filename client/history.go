package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/coppice-vm/coppice/api"
)

// History returns what happened to a VM after the event of that id, oldest
// first; if it is 0, the last of it. A VM that was deleted has one too, as long
// as the host keeps it.
func (c *Client) History(ctx context.Context, id string, after int64) (api.History, error) {
	return call[api.History](ctx, c, "GET", vmPath(id, "/history")+"?after="+strconv.FormatInt(after, 10), nil, "")
}

// Events calls happened with what happens to the account's VMs, after the event
// of that id, or if it is 0, from now on. It returns when ctx ends, the stream
// breaks off, or happened returns an error, which is returned. connected, if it is
// not nil, is called when nothing will be missed any more.
func (c *Client) Events(ctx context.Context, after int64, happened func(api.Event) error, connected func()) error {
	r := request{method: "GET", path: "/v1/events", header: http.Header{}}
	if after > 0 {
		r.header.Set(api.HeaderLastEvent, strconv.FormatInt(after, 10))
	}
	err := follow(ctx, c, r, happened, connected)
	if err == nil { // there is no last event
		err = fmt.Errorf("%s: the stream broke off: %w", r.path, io.ErrUnexpectedEOF)
	}
	return err
}

// follow calls got with the data of a stream of server-sent events, until the
// stream ends, got returns an error, or ctx ends. connected, if it is not nil, is
// called when the stream has begun.
func follow[T any](ctx context.Context, c *Client, r request, got func(T) error, connected func()) error {
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if connected != nil {
		connected()
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue // what else there is, the data says too
		}
		var v T
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			return fmt.Errorf("%s: an event is not what it should be: %w", r.path, err)
		}
		if err := got(v); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: the stream broke off: %w", r.path, err)
	}
	return nil
}
