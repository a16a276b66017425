package hostnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"

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
	}
	return nil, fmt.Errorf("dial port %d of %s: %w", port, id, err)
}

func (n *Network) dial(ctx context.Context, id coppice.VMID, port uint16) (conn net.Conn, err error) {
	var g *guest
	var ns *os.File // our own: a connection that takes long keeps nobody waiting
	if err := n.use(id, func(held *guest, _ *os.File) (err error) {
		g = held
		ns, err = openNamespace(n.file(id))
		return err
	}); err != nil {
		return nil, err
	}
	defer ns.Close()
	err = inside(ns, func() (err error) {
		address := netip.AddrPortFrom(coppice.GuestAddress.Addr(), port)
		conn, err = new(net.Dialer).DialContext(ctx, "tcp4", address.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return g.track(conn.(*net.TCPConn))
}

// A guestConn is a connection that ends with the network.
type guestConn struct {
	*net.TCPConn
	guest *guest
}

// track returns a connection that is closed when the network is torn down.
func (g *guest) track(conn *net.TCPConn) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		conn.Close()
		return nil, coppice.ErrNoNetwork
	}
	g.conns[io.Closer(conn)] = true
	return &guestConn{conn, g}, nil
}

func (c *guestConn) Close() error {
	c.guest.mu.Lock()
	delete(c.guest.conns, c.TCPConn)
	c.guest.mu.Unlock()
	return c.TCPConn.Close()
}
