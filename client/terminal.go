package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// terminalMessage is the most that a server sends at once: a screen.
const terminalMessage = 2 << 20

// A NewTerminal is a terminal to open. The zero value is root's shell, in a
// terminal that the server names.
type NewTerminal struct {
	ID      string
	Command string // a script; empty is the user's shell, as when they log in
	User    string // of the guest; empty is root
	Term    string // what kind of terminal it is: the variable TERM; empty is xterm-256color
	Size    coppice.TerminalSize
}

// OpenTerminal opens a terminal in a VM. The terminal lives on when it is closed here.
func (c *Client) OpenTerminal(ctx context.Context, vm string, terminal NewTerminal) (*Terminal, error) {
	query := sizeQuery(terminal.Size)
	for name, value := range map[string]string{"sessionId": terminal.ID, "exec": terminal.Command, "term": terminal.Term} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return c.terminal(ctx, vmPath(vm, "/pty?"+query.Encode()), terminal.User)
}

// AttachTerminal attaches to a terminal of a VM, of a user of the guest; empty is root, to
// whom all are open. What is read first draws the screen.
func (c *Client) AttachTerminal(ctx context.Context, vm, id, user string, size coppice.TerminalSize) (*Terminal, error) {
	return c.terminal(ctx, vmPath(vm, "/pty/sessions/"+url.PathEscape(id)+"?"+sizeQuery(size).Encode()), user)
}

// Terminals lists the terminals of a VM that user may use, oldest first; empty is root.
func (c *Client) Terminals(ctx context.Context, vm, user string) (api.Terminals, error) {
	return call[api.Terminals](ctx, c, "GET", vmPath(vm, "/pty/sessions"), nil, user)
}

// CloseTerminal hangs a terminal up and returns when its program has ended.
func (c *Client) CloseTerminal(ctx context.Context, vm, id, user string) (api.ClosedTerminal, error) {
	return call[api.ClosedTerminal](ctx, c, "DELETE", vmPath(vm, "/pty/sessions/"+url.PathEscape(id)), nil, user)
}

func sizeQuery(size coppice.TerminalSize) url.Values {
	query := url.Values{}
	if size != (coppice.TerminalSize{}) {
		query.Set("cols", strconv.Itoa(size.Cols))
		query.Set("rows", strconv.Itoa(size.Rows))
	}
	return query
}

// A Terminal is a connection to a terminal of a VM. One goroutine may read
// while others do the rest.
type Terminal struct {
	id     string
	ctx    context.Context
	cancel context.CancelFunc
	conn   *websocket.Conn
	output []byte
	exit   int
	err    error // for Read, after output
	reason error // the server's, for what comes next
}

func (c *Client) terminal(ctx context.Context, path, user string) (*Terminal, error) {
	conn, err := c.webSocket(ctx, path, user)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(terminalMessage)
	t := &Terminal{conn: conn}
	t.ctx, t.cancel = context.WithCancel(ctx)
	for t.id == "" {
		if t.output, t.err = t.next(); t.err != nil {
			t.Close()
			return nil, t.err
		}
	}
	return t, nil
}

// ID is what the terminal is called.
func (t *Terminal) ID() string { return t.id }

// Read reads what the terminal shows. The error is [io.EOF] when its program
// has ended; then ExitCode says how.
func (t *Terminal) Read(p []byte) (int, error) {
	for len(t.output) == 0 {
		if t.err != nil {
			return 0, t.err
		}
		t.output, t.err = t.next()
	}
	n := copy(p, t.output)
	t.output = t.output[n:]
	return n, nil
}

// next reads a message, and returns it if it is output.
func (t *Terminal) next() ([]byte, error) {
	kind, msg, err := t.conn.Read(t.ctx)
	switch {
	case t.ctx.Err() != nil:
		return nil, t.ctx.Err()
	case err != nil && t.reason != nil:
		return nil, t.reason
	case err != nil:
		return nil, coppice.Errorf(coppice.CodeUnavailable, "the connection to the terminal broke; it can be attached to again").Because(err)
	case kind == websocket.MessageBinary:
		return msg, nil
	}
	var m struct {
		Type, SessionID, Code, Message string
		ExitCode                       int
	}
	if err := json.Unmarshal(msg, &m); err != nil {
		return nil, fmt.Errorf("the server sent a message that is not JSON: %w", err)
	}
	switch m.Type {
	case api.TypeSessionInfo:
		t.id = m.SessionID
	case api.TypeExited:
		t.exit = m.ExitCode
		return nil, io.EOF
	case api.TypeError:
		t.reason = &coppice.Error{Code: coppice.Code(m.Code), Message: m.Message}
	}
	return nil, nil
}

// Write types. It may wait for the program to read.
func (t *Terminal) Write(p []byte) (int, error) {
	if err := t.conn.Write(t.ctx, websocket.MessageBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Resize says how large the window is. Of all that are attached the smallest size counts.
func (t *Terminal) Resize(size coppice.TerminalSize) error {
	return wsjson.Write(t.ctx, t.conn, api.TerminalControl{Type: api.TypeResize, Cols: size.Cols, Rows: size.Rows})
}

// Signal sends a signal, like "SIGTERM".
func (t *Terminal) Signal(signal string) error {
	return wsjson.Write(t.ctx, t.conn, api.TerminalControl{Type: api.TypeSignal, Signal: signal})
}

// ExitCode is how the program ended: its status, or 128 and the signal's number.
func (t *Terminal) ExitCode() int { return t.exit }

// Close detaches. The terminal lives on.
func (t *Terminal) Close() error {
	defer t.cancel()
	return t.conn.CloseNow()
}
