package hostnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

// Dial implements [coppice.Network].
func (n *Network) Dial(ctx context.Context, id coppice.VMID, port uint16) (net.Conn, error) {
	conn, err := n.dial(ctx, id, port)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, syscall.ECONNREFUSED):
		err = coppice.ErrRefused
	case errors.Is(err, os.ErrClosed): // by letGo
		err = coppice.ErrNoNetwork
	}
	return nil, fmt.Errorf("dial port %d of %s: %w", port, id, err)
}

// dial makes a socket in the namespace and connects it outside: while a guest
// does not answer, neither a thread nor the network's lock is held.
func (n *Network) dial(ctx context.Context, id coppice.VMID, port uint16) (net.Conn, error) {
	var g *guest
	var socket *os.File
	if err := n.use(id, func(held *guest) (err error) {
		g = held
		socket, err = newSocket(g.ns)
		return err
	}); err != nil {
		return nil, err
	}
	defer socket.Close() // the connection has a copy
	if err := g.track(socket); err != nil {
		return nil, err
	}
	defer g.untrack(socket)
	if err := connect(ctx, socket, &unix.SockaddrInet4{Addr: coppice.GuestAddress.Addr().As4(), Port: int(port)}); err != nil {
		return nil, err
	}
	conn, err := net.FileConn(socket)
	if err != nil {
		return nil, err
	}
	if err := g.track(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return &guestConn{conn.(*net.TCPConn), g}, nil
}

// newSocket returns a TCP socket of a namespace.
func newSocket(ns *os.File) (*os.File, error) {
	var fd int
	err := inside(ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}

// connect connects a socket that does not block, until ctx ends.
func connect(ctx context.Context, socket *os.File, to unix.Sockaddr) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { socket.SetWriteDeadline(time.Unix(1, 0)) })()
	var connected error
	err = raw.Write(func(fd uintptr) (done bool) { // again when it may have been decided
		connected = unix.Connect(int(fd), to)
		switch connected {
		case unix.EINPROGRESS, unix.EALREADY, unix.EINTR:
			return false
		case unix.EISCONN:
			connected = nil
		}
		return true
	})
	switch {
	case err == nil:
		return os.NewSyscallError("connect", connected)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return os.ErrClosed // which the poller says in its own words
}

// A guestConn is a connection that ends with the network.
type guestConn struct {
	*net.TCPConn
	guest *guest
}

// track has what is connected to the guest, or is about to be, closed with the network.
func (g *guest) track(conn io.Closer) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		return coppice.ErrNoNetwork
	}
	g.conns[conn] = true
	return nil
}

func (g *guest) untrack(conn io.Closer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, conn)
}

func (c *guestConn) Close() error {
	c.guest.untrack(c.TCPConn)
	return c.TCPConn.Close()
}
