package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// ExecAwait runs a command and returns what it wrote, of each stream the first
// 8 MiB. If spec's timeout passes, the error has the code EXEC_TIMED_OUT and the
// output so far. Dir and Env of spec must be empty.
func (c *Client) ExecAwait(ctx context.Context, id string, spec coppice.ExecSpec) (api.ExecResult, error) {
	in := api.Exec{Command: spec.Command}
	if spec.Timeout > 0 {
		in.TimeoutMs = new(max(spec.Timeout.Milliseconds(), 1))
	}
	return call[api.ExecResult](ctx, c, "POST", vmPath(id, "/exec-await"), in, spec.User)
}

// Exec runs a command with its standard streams connected to stdio, and returns
// when it has ended. When ctx ends, or a writer of stdio fails, the command is
// killed. A Read of stdio.Stdin that is blocked when the command ends is left behind.
func (c *Client) Exec(ctx context.Context, id string, spec coppice.ExecSpec, stdio coppice.Stdio) (coppice.ExecStatus, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	conn, err := c.webSocket(ctx, vmPath(id, "/exec"), "")
	if err != nil {
		return coppice.ExecStatus{}, err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)

	x := &execution{conn: conn, stdio: stdio, acked: make(chan struct{}, 1)}
	if err := wsjson.Write(ctx, conn, startOf(spec)); err != nil {
		return coppice.ExecStatus{}, err
	}
	go x.sendStdin(ctx)
	return x.receive(ctx)
}

func startOf(spec coppice.ExecSpec) api.ExecStart {
	start := api.ExecStart{Command: spec.Command, User: spec.User, Dir: spec.Dir, Env: map[string]string{}}
	for _, kv := range spec.Env {
		k, v, _ := strings.Cut(kv, "=")
		start.Env[k] = v
	}
	if spec.Timeout > 0 {
		start.TimeoutMs = max(spec.Timeout.Milliseconds(), 1)
	}
	return start
}

// An execution is one command at the other end of a WebSocket.
type execution struct {
	conn   *websocket.Conn
	stdio  coppice.Stdio
	unread atomic.Int64  // bytes of stdin that the command has not taken
	acked  chan struct{} // has something when unread has become less
}

// sendStdin sends what Stdin has, and never more than the window ahead of the
// command: so the server can always hear that the connection closed.
func (x *execution) sendStdin(ctx context.Context) {
	buf := make([]byte, 1+32<<10)
	buf[0] = api.StreamStdin
	for x.stdio.Stdin != nil {
		n, err := x.stdio.Stdin.Read(buf[1:])
		for x.unread.Load()+int64(n) > api.StdinWindow {
			select {
			case <-x.acked:
			case <-ctx.Done():
				return
			}
		}
		if n > 0 {
			x.unread.Add(int64(n))
			if x.conn.Write(ctx, websocket.MessageBinary, buf[:1+n]) != nil {
				return // receive finds out, too
			}
		}
		if err != nil {
			break
		}
	}
	_ = wsjson.Write(ctx, x.conn, api.ExecMessage{Type: api.TypeStdinClose})
}

// receive hands on the output until the command has ended.
func (x *execution) receive(ctx context.Context) (coppice.ExecStatus, error) {
	for {
		kind, msg, err := x.conn.Read(ctx)
		if ctx.Err() != nil {
			return coppice.ExecStatus{}, ctx.Err()
		}
		if err != nil {
			return coppice.ExecStatus{}, coppice.Errorf(coppice.CodeUnavailable, "the connection broke before the command ended").Because(err)
		}
		if kind == websocket.MessageBinary {
			err = x.output(msg)
		} else {
			var status *coppice.ExecStatus
			if status, err = x.text(msg); status != nil && err == nil {
				return *status, nil
			}
		}
		if err != nil {
			return coppice.ExecStatus{}, err
		}
	}
}

func (x *execution) output(msg []byte) error {
	var w io.Writer
	switch {
	case len(msg) > 0 && msg[0] == api.StreamStdout:
		w = x.stdio.Stdout
	case len(msg) > 0 && msg[0] == api.StreamStderr:
		w = x.stdio.Stderr
	default:
		return fmt.Errorf("the server sent a message of no known stream")
	}
	if w == nil {
		return nil
	}
	_, err := w.Write(msg[1:])
	return err
}

// text returns the status if msg is the one that has it.
func (x *execution) text(msg []byte) (*coppice.ExecStatus, error) {
	var m struct {
		Type     string
		Bytes    int64
		Code     json.RawMessage
		TimedOut bool
		Message  string
	}
	if err := json.Unmarshal(msg, &m); err != nil {
		return nil, fmt.Errorf("the server sent a message that is not JSON: %w", err)
	}
	switch m.Type {
	case api.TypeStdinAck:
		x.unread.Add(-m.Bytes)
		select {
		case x.acked <- struct{}{}:
		default:
		}
		return nil, nil
	case api.TypeExit:
		status := &coppice.ExecStatus{TimedOut: m.TimedOut}
		return status, json.Unmarshal(m.Code, &status.Code)
	case api.TypeError:
		e := &coppice.Error{Message: m.Message}
		if err := json.Unmarshal(m.Code, &e.Code); err != nil {
			return nil, err
		}
		return nil, e
	default:
		return nil, nil // of a newer server
	}
}
