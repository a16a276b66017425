package wire

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// Version of everything in this package. A guest may be older than its host: a
// capture keeps the agent that was running in it.
const Version = 1

// ErrSuperseded is what reading a [Conn] returns when the other end has begun
// a new connection in its place.
var ErrSuperseded = errors.New("a new connection has begun")

// errEscape means that the stream is none of ours, or was cut.
var errEscape = errors.New("the stream is garbled")

// A Port is one end of the byte stream between a host and a guest. Deadlines
// interrupt reads and writes that are under way.
type Port interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// A connection begins with esc escBegin, who speaks, its version, and the
// epoch: 16 random bytes that the host chose and the guest repeats.
const (
	epochSize    = 16
	greetingSize = 2 + epochSize

	fromHost  = 'H'
	fromGuest = 'G'
)

type epoch [epochSize]byte

func greet(port Port, from byte, e epoch) error {
	msg := []byte{esc, escBegin, from, Version}
	_, err := port.Write(appendEscaped(msg, e[:]))
	return err
}

// Connect begins a new connection at the host's end of port and returns when
// the guest has taken it up. Everything the guest sent before that is dropped.
// It takes as long as the guest does: set a deadline on the port.
func Connect(port Port) (*Conn, error) {
	var ours epoch
	rand.Read(ours[:]) // never fails; see crypto/rand
	if err := greet(port, fromHost, ours); err != nil {
		return nil, err
	}
	in := &input{port: port}
	for {
		version, theirs, err := in.greeting(fromGuest)
		if err != nil {
			return nil, err
		}
		if theirs != ours {
			continue // meant for the host before us
		}
		if version != Version {
			return nil, fmt.Errorf("the guest's agent speaks version %d, not %d", version, Version)
		}
		return &Conn{in: in}, nil
	}
}

// A Listener takes up the connections that hosts begin at a guest's end of a port.
type Listener struct{ in *input }

// NewListener returns a listener on port.
func NewListener(port Port) *Listener { return &Listener{&input{port: port}} }

// Accept returns the next connection, when the host has begun one. The one
// before must be out of use: nobody is in its Read or Write.
func (l *Listener) Accept() (*Conn, error) {
	if err := l.in.port.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	for {
		version, epoch, err := l.in.greeting(fromHost)
		if err != nil {
			return nil, err
		}
		if err := greet(l.in.port, fromGuest, epoch); err != nil {
			return nil, err
		}
		if version == Version {
			return &Conn{in: l.in}, nil
		}
	}
}

// An input is what comes out of a port.
type input struct {
	port    Port
	decoder decoder
	ahead   []byte // read, not decoded
	begun   bool   // the last thing decoded was the beginning of a connection
}

// read decodes at most len(p) bytes of the port into p.
func (in *input) read(p []byte) (int, stop, error) {
	n := copy(p, in.ahead)
	in.ahead = in.ahead[n:]
	if n == 0 {
		var err error
		if n, err = in.port.Read(p); n == 0 {
			return 0, atEnd, err
		}
	}
	data, rest, why := in.decoder.decode(p[:n])
	if len(rest) > 0 {
		in.ahead = append(bytes.Clone(rest), in.ahead...)
	}
	in.begun = why == atBegin
	return len(data), why, nil
}

// greeting skips to the next beginning of a connection that is whole, and
// returns what it says. It reads nothing past that.
func (in *input) greeting(from byte) (version byte, e epoch, err error) {
	garbage := make([]byte, 4096)
	for {
		for !in.begun {
			if _, _, err := in.read(garbage); err != nil {
				return 0, e, err
			}
		}
		in.begun = false
		var msg [greetingSize]byte
		for n := 0; n < len(msg); {
			k, why, err := in.read(msg[n:])
			if err != nil {
				return 0, e, err
			}
			if n += k; why != atEnd {
				break
			}
			if n == len(msg) && msg[0] == from {
				return msg[1], epoch(msg[2:]), nil
			}
		}
	}
}

// A Conn is a stream between a host and a guest in which nothing is left of
// any stream before. One goroutine may read while another writes.
type Conn struct {
	in     *input
	err    error // of the input, for every later Read
	out    []byte
	closed atomic.Bool
}

// Read returns [ErrSuperseded] when the other end has begun a new connection.
func (c *Conn) Read(p []byte) (int, error) {
	for n := 0; ; {
		switch {
		case c.closed.Load():
			return 0, net.ErrClosed
		case c.err != nil:
			return 0, c.err
		case n > 0 || len(p) == 0:
			return n, nil
		}
		var why stop
		n, why, c.err = c.in.read(p)
		switch why {
		case atBegin:
			c.err = ErrSuperseded
		case atError:
			c.err = errEscape
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (c *Conn) Write(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	raw := p
	if bytes.IndexByte(p, esc) >= 0 {
		c.out = appendEscaped(c.out[:0], p)
		raw = c.out
	}
	if _, err := c.in.port.Write(raw); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close ends reads and writes, those under way too. The port stays open.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	return c.in.port.SetDeadline(time.Unix(1, 0))
}
