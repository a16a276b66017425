package mem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// sockets are what listens in a guest, by network and address.
type sockets struct {
	mu        sync.Mutex
	listeners map[guestAddr]*listener
	lastPort  int
}

// A guestAddr is the address of a socket in a guest.
type guestAddr struct{ network, address string }

func (a guestAddr) Network() string { return a.network }
func (a guestAddr) String() string  { return a.address }

// Dial implements [coppice.GuestSockets].
func (s *guestSession) Dial(ctx context.Context, user, network, address string) (net.Conn, error) {
	broken, err := s.connected(ctx)
	if err != nil {
		return nil, err
	}
	at := guestAddr{network, address}
	if err := at.check(user); err != nil {
		return nil, err
	}
	s.sockets.mu.Lock()
	l := s.sockets.listeners[at]
	s.sockets.mu.Unlock()
	if l == nil && network == "unix" {
		return nil, fmt.Errorf("connect to %s: %w", address, fs.ErrNotExist)
	}
	ours, theirs := socketPair(at)
	if l != nil {
		select {
		case l.arrivals <- theirs:
			go func() {
				<-broken
				ours.Close()
				theirs.Close()
			}()
			return ours, nil
		case <-l.closed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("connect to %s: %w", address, syscall.ECONNREFUSED)
}

// check says what is wrong with an address, or a user.
func (a guestAddr) check(user string) error {
	if _, err := home(user); err != nil {
		return err
	}
	switch a.network {
	case "tcp":
		_, _, err := net.SplitHostPort(a.address)
		return err
	case "unix":
		return nil
	}
	return fmt.Errorf("sockets are tcp or unix, not %q: %w", a.network, fs.ErrInvalid)
}

// Listen implements [coppice.GuestSockets].
func (s *guestSession) Listen(ctx context.Context, user, network, address string) (net.Listener, error) {
	broken, err := s.connected(ctx)
	if err != nil {
		return nil, err
	}
	at := guestAddr{network, address}
	if err := at.check(user); err != nil {
		return nil, err
	}
	if _, port, _ := net.SplitHostPort(address); network == "tcp" && user == guestUser && len(port) < 4 && port != "0" {
		return nil, fmt.Errorf("listen on %s: %w", address, fs.ErrPermission)
	}
	all := s.sockets
	all.mu.Lock()
	defer all.mu.Unlock()
	if host, port, _ := net.SplitHostPort(address); network == "tcp" && port == "0" {
		all.lastPort++
		at.address = net.JoinHostPort(host, strconv.Itoa(32767+all.lastPort))
	}
	if all.listeners[at] != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, syscall.EADDRINUSE)
	}
	l := &listener{sockets: all, at: at, arrivals: make(chan net.Conn, 32), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() {
		close(l.closed)
		all.mu.Lock()
		defer all.mu.Unlock()
		delete(all.listeners, at)
	})
	all.listeners[at] = l
	go func() {
		select {
		case <-broken:
			l.close()
		case <-l.closed:
		}
	}()
	return l, nil
}

// A listener is a socket that listens in a guest.
type listener struct {
	*sockets
	at       guestAddr
	arrivals chan net.Conn
	closed   chan struct{}
	close    func()
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.arrivals:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.close()
	return nil
}

func (l *listener) Addr() net.Addr { return l.at }

// A socket is one end of a connection that can be closed for writing only.
type socket struct {
	in, out net.Conn
	at      guestAddr
}

// socketPair returns the two ends of a connection.
func socketPair(at guestAddr) (a, b net.Conn) {
	aIn, bOut := net.Pipe()
	bIn, aOut := net.Pipe()
	return &socket{aIn, aOut, at}, &socket{bIn, bOut, at}
}

func (s *socket) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *socket) Write(p []byte) (int, error) { return s.out.Write(p) }
func (s *socket) CloseWrite() error           { return s.out.Close() }
func (s *socket) Close() error                { return errors.Join(s.in.Close(), s.out.Close()) }
func (s *socket) LocalAddr() net.Addr         { return s.at }
func (s *socket) RemoteAddr() net.Addr        { return s.at }
func (s *socket) SetDeadline(t time.Time) error {
	return errors.Join(s.in.SetDeadline(t), s.out.SetDeadline(t))
}
func (s *socket) SetReadDeadline(t time.Time) error  { return s.in.SetReadDeadline(t) }
func (s *socket) SetWriteDeadline(t time.Time) error { return s.out.SetWriteDeadline(t) }
