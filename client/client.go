// Package client is the Go client of the API: the CLI's and the tests' only door.
//
// What the daemon refuses comes back as a [*coppice.Error] with the code, the
// message and the fields of the answer; what never reached a daemon wraps
// [ErrUnreachable].
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// ErrUnreachable is wrapped by the error of a call that found nobody listening.
var ErrUnreachable = errors.New("nothing answers")

// A Client calls one daemon for one account or identity. Its methods may be called concurrently.
type Client struct {
	base string // without a slash at the end
	key  string
	http *http.Client
}

// New returns a client of the daemon at baseURL, like "http://127.0.0.1:4700",
// that shows secret: an account's API key or an identity's access token. It does
// not connect yet.
func New(baseURL, secret string) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not the URL of an API: it should look like http://127.0.0.1:4700", baseURL)
	}
	return &Client{
		base: strings.TrimRight(baseURL, "/"),
		key:  secret,
		http: &http.Client{Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			MaxIdleConnsPerHost:   64,
			IdleConnTimeout:       time.Minute,
			ExpectContinueTimeout: 5 * time.Second,
			DisableCompression:    true,
		}},
	}, nil
}

// Close closes idle connections. The client can still be used.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Health asks whether the daemon takes requests. It needs no key.
func (c *Client) Health(ctx context.Context) (api.Health, error) {
	return call[api.Health](ctx, c, "GET", "/healthz", nil, "")
}

// WhoAmI returns whom the key belongs to.
func (c *Client) WhoAmI(ctx context.Context) (api.WhoAmI, error) {
	return call[api.WhoAmI](ctx, c, "GET", "/auth/v1/whoami", nil, "")
}

// Create makes a VM and returns when it runs.
func (c *Client) Create(ctx context.Context, vm api.CreateVM) (api.Created, error) {
	return call[api.Created](ctx, c, "POST", "/v1/vms", vm, "")
}

// A Query selects VMs to list. The zero value is every VM that is not deleted.
type Query struct {
	Limit, Offset int // Limit 0 is no limit
	State         api.State
	Deleted       bool   // deleted VMs too
	Search        string // in id or name
}

// Limits returns what the account may have at a time, and what it has.
func (c *Client) Limits(ctx context.Context) (api.Limits, error) {
	return call[api.Limits](ctx, c, "GET", "/v1/limits", nil, "")
}

// VMs lists VMs, oldest first.
func (c *Client) VMs(ctx context.Context, q Query) (api.VMList, error) {
	v := url.Values{}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Offset > 0 {
		v.Set("offset", strconv.Itoa(q.Offset))
	}
	if q.State != "" {
		v.Set("vmState", string(q.State))
	}
	if q.Deleted {
		v.Set("includeDeleted", "true")
	}
	if q.Search != "" {
		v.Set("search", q.Search)
	}
	return call[api.VMList](ctx, c, "GET", "/v1/vms?"+v.Encode(), nil, "")
}

// VM returns what is known about a VM.
func (c *Client) VM(ctx context.Context, id string) (api.VM, error) {
	return call[api.VM](ctx, c, "GET", vmPath(id, ""), nil, "")
}

// Start boots or resumes a VM and returns when it runs.
func (c *Client) Start(ctx context.Context, id string, opts api.StartVM) (api.Started, error) {
	return call[api.Started](ctx, c, "POST", vmPath(id, "/start"), opts, "")
}

// Resize gives a VM another size and returns when it has it.
func (c *Client) Resize(ctx context.Context, id string, spec api.ResizeVM) (api.Empty, error) {
	return call[api.Empty](ctx, c, "POST", vmPath(id, "/resize"), spec, "")
}

// Stop shuts a VM down and returns when it has stopped.
func (c *Client) Stop(ctx context.Context, id string) (api.StoppedVM, error) {
	return call[api.StoppedVM](ctx, c, "POST", vmPath(id, "/stop"), nil, "")
}

// Kill ends a VM's run without asking the guest.
func (c *Client) Kill(ctx context.Context, id string) (api.KilledVM, error) {
	return call[api.KilledVM](ctx, c, "POST", vmPath(id, "/kill"), nil, "")
}

// Delete removes a VM for good.
func (c *Client) Delete(ctx context.Context, id string) (api.DeletedVM, error) {
	return call[api.DeletedVM](ctx, c, "DELETE", vmPath(id, ""), nil, "")
}

// Await returns when the VM's current run has ended.
func (c *Client) Await(ctx context.Context, id string) (api.Exited, error) {
	return call[api.Exited](ctx, c, "POST", vmPath(id, "/await"), nil, "")
}

// Console returns what the VM's serial console has printed, the last part of it.
func (c *Client) Console(ctx context.Context, id string) ([]byte, error) {
	resp, err := c.send(ctx, request{method: "GET", path: vmPath(id, "/console")})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

func vmPath(id, rest string) string { return "/v1/vms/" + url.PathEscape(id) + rest }

// call sends in, if it is not nil, and returns the answer.
func call[Out any](ctx context.Context, c *Client, method, path string, in any, user string) (Out, error) {
	var out Out
	r := request{method: method, path: path, header: http.Header{}}
	r.as(user)
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return out, err
		}
		r.body = bytes.NewReader(b)
		r.header.Set("Content-Type", "application/json")
	}
	resp, err := c.send(ctx, r)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("%s %s: the answer broke off: %w", method, path, err)
	}
	return out, nil
}

type request struct {
	method, path string
	header       http.Header
	body         io.Reader
}

func (r *request) as(user string) {
	if user != "" {
		r.header.Set(api.HeaderLinuxUser, user)
	}
}

// webSocket opens a WebSocket, as user of a guest.
func (c *Client) webSocket(ctx context.Context, path, user string) (*websocket.Conn, error) {
	r := request{header: http.Header{}}
	r.as(user)
	c.identify(r.header)
	conn, resp, err := websocket.Dial(ctx, c.base+path, &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: r.header})
	if err != nil && resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, refusal(resp)
	}
	if err != nil {
		return nil, c.unreachable(err)
	}
	return conn, nil
}

// send returns the answer if it is a success; the caller closes its body.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path, r.body)
	if err != nil {
		return nil, err
	}
	if r.header != nil {
		req.Header = r.header
	}
	c.identify(req.Header)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

func (c *Client) identify(h http.Header) {
	switch {
	case strings.HasPrefix(c.key, api.TokenPrefix):
		h.Set(api.HeaderAccessToken, c.key)
	case c.key != "":
		h.Set("Authorization", "Bearer "+c.key)
	}
}

// unreachable marks the error of a connection that was never made, and says of one
// that broke what that means.
func (c *Client) unreachable(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("the connection to %s broke before there was an answer, and what was asked for may have been done or not: %w", c.base, err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.base, op)
	}
	return err
}

// refusal turns an answer that is not a success into an error.
func refusal(resp *http.Response) *coppice.Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<20)) // a timed out exec's has its output
	var fields map[string]any
	code := ""
	if json.Unmarshal(body, &fields) == nil {
		code, _ = fields["code"].(string)
	}
	if code == "" {
		return coppice.Errorf(coppice.CodeInternal, "HTTP %s, and no error of the API: %.200q", resp.Status, body)
	}
	e := &coppice.Error{Code: coppice.Code(code)}
	e.Message, _ = fields["message"].(string)
	for _, k := range []string{"code", "error", "message"} {
		delete(fields, k)
	}
	if len(fields) > 0 {
		e.Fields = fields
	}
	if trace := resp.Header.Get(api.HeaderTrace); trace != "" {
		e.Err = fmt.Errorf("request %s", trace)
	}
	return e
}
