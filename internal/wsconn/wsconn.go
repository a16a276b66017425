// Package wsconn makes a WebSocket a connection like one of TCP: a stream of
// bytes each way, each of which can end by itself. Binary messages are the
// bytes; an empty text message is the end.
package wsconn

import (
	"context"
	"errors"
	"io"

	"github.com/coder/websocket"
)

// A Conn is a WebSocket as a connection. One may read and one may write at the same time.
type Conn struct {
	ctx  context.Context
	ws   *websocket.Conn
	part io.Reader // the rest of a message
	end  error     // of what there is to read
}

// New returns ws as a connection, which breaks when ctx ends.
func New(ctx context.Context, ws *websocket.Conn) *Conn {
	ws.SetReadLimit(-1) // a message is not kept
	return &Conn{ctx: ctx, ws: ws}
}

// Read implements [io.Reader]. The other end's CloseWrite is [io.EOF]; a
// WebSocket that closes without is [io.ErrUnexpectedEOF].
func (c *Conn) Read(p []byte) (int, error) {
	for c.end == nil {
		if c.part == nil {
			kind, part, err := c.ws.Reader(c.ctx)
			switch {
			case err != nil:
				c.end = broken(err)
			case kind == websocket.MessageText:
				c.end = io.EOF
			default:
				c.part = part
			}
			continue
		}
		n, err := c.part.Read(p)
		if err != nil {
			c.part = nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			c.end = broken(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, c.end
}

func broken(err error) error {
	if websocket.CloseStatus(err) != -1 || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Write implements [io.Writer].
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.ws.Write(c.ctx, websocket.MessageBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite says that nothing more will be written.
func (c *Conn) CloseWrite() error { return c.ws.Write(c.ctx, websocket.MessageText, nil) }

// Close closes the connection both ways at once.
func (c *Conn) Close() error { return c.ws.CloseNow() }

// A Stream is a connection that can be closed for writing only.
type Stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Join passes on what comes from each of two connections to the other, until
// both have ended or one breaks. It closes both.
func Join(a, b Stream) error {
	copied := make(chan error, 2)
	pass := func(to, from Stream) {
		_, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
		if err == nil {
			err = to.CloseWrite()
		}
		copied <- err
	}
	go pass(a, b)
	go pass(b, a)
	err := <-copied
	if err == nil {
		err = <-copied
		return errors.Join(err, a.Close(), b.Close())
	}
	a.Close()
	b.Close()
	<-copied
	return err
}
