package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coppice-vm/coppice/guest/wire"
)

// Dial implements [coppice.GuestSockets].
func (s *session) Dial(ctx context.Context, user, network, address string) (net.Conn, error) {
	return s.connection(ctx, s.begin, guestAddr{network, address}, wire.Request{
		Op: wire.OpDial, Socket: &wire.Socket{User: user, Network: network, Address: address},
	})
}

// connection begins a call that connects to something in the guest.
func (s *session) connection(ctx context.Context, begin begin, remote guestAddr, req wire.Request) (net.Conn, error) {
	lasting, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { cancel(ctx.Err()) })
	c, err := s.admit(lasting, req, begin)
	if err == nil {
		if err = c.answer(&wire.Done{}); err != nil {
			c.close()
		}
	}
	if !stop() && err == nil { // ctx has ended just now
		c.close()
		err = ctx.Err()
	}
	if err != nil {
		cancel(nil)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("connect to %s in the guest: %w", remote.address, err)
	}
	return &socket{call: c, remote: remote, close: sync.OnceFunc(func() { cancel(nil); c.close() })}, nil
}

// A guestAddr is the address of a socket in a guest.
type guestAddr struct{ network, address string }

func (a guestAddr) Network() string { return a.network }
func (a guestAddr) String() string  { return a.address }

// A socket is a connection to a socket in a guest. What has been read of a
// frame outlasts a deadline.
type socket struct {
	call   *call
	remote guestAddr
	close  func()

	reading sync.Mutex
	header  [wire.FrameOverhead]byte
	have    int   // bytes of the header
	left    int   // bytes of a frame's content
	readErr error // for every later Read

	writing  sync.Mutex
	frame    []byte
	writeErr error // for every later Write
}

// Read implements [net.Conn].
func (s *socket) Read(p []byte) (int, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	for s.left == 0 {
		if s.readErr != nil {
			return 0, s.readErr
		}
		if err := s.nextFrame(); err != nil {
			return 0, s.failed(err, &s.readErr)
		}
	}
	n, err := s.call.stream.Read(p[:min(len(p), s.left)])
	s.left -= n
	if n > 0 {
		return n, nil
	}
	return 0, s.failed(err, &s.readErr)
}

// nextFrame reads on to the content of the next frame of data, or to the end.
func (s *socket) nextFrame() error {
	for s.have < len(s.header) {
		n, err := s.call.stream.Read(s.header[s.have:])
		if s.have += n; n == 0 {
			return err
		}
	}
	s.have = 0
	kind, n := wire.ParseHeader(s.header)
	switch {
	case kind == wire.End:
		s.readErr = io.EOF
		return io.EOF
	case kind == wire.Data && n <= wire.MaxFrame:
		s.left = n
		return nil
	}
	return errForeign
}

// failed returns what a failure of the stream means, and keeps it for later
// unless it is a deadline's.
func (s *socket) failed(err error, kept *error) error {
	if nerr, ok := errors.AsType[net.Error](err); ok && nerr.Timeout() && s.call.ctx.Err() == nil {
		return os.ErrDeadlineExceeded
	}
	if *kept == nil {
		*kept = net.ErrClosed
		if s.call.ctx.Err() == nil {
			*kept = s.call.failed(err)
		}
	}
	return *kept
}

// Write implements [net.Conn].
func (s *socket) Write(p []byte) (written int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	for len(p) > 0 {
		n := min(len(p), wire.MaxData)
		if err := s.send(wire.Data, p[:n]); err != nil {
			return written, err
		}
		written, p = written+n, p[n:]
	}
	return written, s.writeErr
}

// CloseWrite tells the other end that no more is to come.
func (s *socket) CloseWrite() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.send(wire.End, nil)
	if err == nil {
		s.writeErr = net.ErrClosed
	}
	return err
}

// send sends a frame. One that is cut short by a deadline ends the sending: the
// other end could not tell what comes after it from what is missing.
func (s *socket) send(kind wire.Kind, content []byte) error {
	if s.writeErr != nil {
		return s.writeErr
	}
	s.frame = append(s.frame[:0], make([]byte, wire.FrameOverhead)...)
	s.frame = append(s.frame, content...)
	wire.PutHeader(s.frame, kind)
	if _, err := s.call.stream.Write(s.frame); err != nil {
		err = s.failed(err, &s.writeErr)
		s.writeErr = err
		return err
	}
	return nil
}

// Close implements [net.Conn]. Closing again does nothing.
func (s *socket) Close() error {
	s.close()
	return nil
}

func (s *socket) LocalAddr() net.Addr                { return guestAddr{s.remote.network, ""} }
func (s *socket) RemoteAddr() net.Addr               { return s.remote }
func (s *socket) SetDeadline(t time.Time) error      { return s.call.stream.SetDeadline(t) }
func (s *socket) SetReadDeadline(t time.Time) error  { return s.call.stream.SetReadDeadline(t) }
func (s *socket) SetWriteDeadline(t time.Time) error { return s.call.stream.SetWriteDeadline(t) }

// Listen implements [coppice.GuestSockets].
func (s *session) Listen(ctx context.Context, user, network, address string) (net.Listener, error) {
	lasting, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, func() { cancel(ctx.Err()) })()
	c, err := s.call(lasting, wire.Request{
		Op: wire.OpListen, Socket: &wire.Socket{User: user, Network: network, Address: address},
	})
	var at wire.Listening
	if err == nil {
		if err = c.answer(&at); err != nil {
			c.close()
		}
	}
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("listen on %s in the guest: %w", address, err)
	}
	return &listener{session: s, call: c, addr: guestAddr{network, printable(at.Address)},
		close: sync.OnceFunc(func() { cancel(net.ErrClosed); c.close() })}, nil
}

// A listener is a socket in a guest that takes connections.
type listener struct {
	session *session
	call    *call
	addr    guestAddr
	close   func()

	accepting sync.Mutex
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	for {
		arrival, err := l.next()
		if err != nil {
			return nil, err
		}
		// On the listener's own link: on another one its stream is another's, or nobody's.
		conn, err := l.session.connection(l.call.ctx, l.call.link.begin, guestAddr{l.addr.network, printable(arrival.From)}, wire.Request{
			Op: wire.OpAccept, Stream: l.call.stream.StreamID(), Arrival: arrival.Number,
		})
		if err == nil || l.call.ctx.Err() != nil || l.call.link.broken() {
			return conn, err
		}
	}
}

// next returns the next connection that waits in the guest.
func (l *listener) next() (arrival wire.Arrival, err error) {
	l.accepting.Lock()
	defer l.accepting.Unlock()
	frame, err := l.call.next()
	switch {
	case l.call.ctx.Err() != nil:
		return arrival, net.ErrClosed
	case err != nil:
		return arrival, l.call.failed(err)
	case frame.Kind != wire.Data:
		return arrival, l.call.failed(errForeign)
	}
	if err := json.Unmarshal(frame.Content, &arrival); err != nil {
		return arrival, l.call.failed(errForeign)
	}
	return arrival, nil
}

// Close implements [net.Listener]. Closing again does nothing.
func (l *listener) Close() error {
	l.close()
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }
