// Package moving tells whether somebody is at a connection that may be quiet for
// long: a forwarded port, a WebSocket, a terminal. A VM is idle, and put to sleep,
// though such connections are open, so whoever relays one says when bytes move on
// it ([Conn], [Sparingly]); and where the VM fell asleep over what was typed last,
// a [Question] tells that it is to be woken for the answer.
package moving

import (
	"net"
	"sync/atomic"
	"time"
)

// interval is how often it is said at most.
const interval = time.Second

// Sparingly returns a function that calls f, but once a second at most: what
// comes too soon is left out. Any number may call it at the same time.
func Sparingly(f func()) func() {
	began := time.Now()
	var due atomic.Int64 // since began, by the clock that nobody sets
	return func() {
		now, then := int64(time.Since(began)), due.Load()
		if now >= then && due.CompareAndSwap(then, now+int64(interval)) {
			f()
		}
	}
}

// A conn is a connection that says when bytes move.
type conn struct {
	net.Conn
	moved func()
}

// Conn returns c as a connection that calls moved when bytes have been read or
// written, once a second at most. It can be closed for writing only if c can.
func Conn(c net.Conn, moved func()) net.Conn { return &conn{c, Sparingly(moved)} }

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.moved()
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.moved()
	}
	return n, err
}

// CloseWrite closes c for writing, or altogether if it knows no less.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
