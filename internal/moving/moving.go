// Package moving says when bytes move on a connection, for those who look after
// what is idle.
package moving

import (
	"net"
	"sync/atomic"
	"time"
)

// interval is how often it is said at most.
const interval = time.Second

// A conn is a connection that says when bytes move.
type conn struct {
	net.Conn
	moved func()
	last  atomic.Int64 // when that was said, in nanoseconds
}

// Conn returns c as a connection that calls moved when bytes have been read or
// written, once a second at most. It can be closed for writing only if c can.
func Conn(c net.Conn, moved func()) net.Conn { return &conn{Conn: c, moved: moved} }

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.note(n)
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.note(n)
	return n, err
}

func (c *conn) note(n int) {
	now, last := time.Now().UnixNano(), c.last.Load()
	if n > 0 && now-last >= int64(interval) && c.last.CompareAndSwap(last, now) {
		c.moved()
	}
}

// CloseWrite closes c for writing, or altogether if it knows no less.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
