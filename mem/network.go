package mem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/coppice-vm/coppice"
)

// A Network is a [coppice.Network] of guests that [Network.Plug] returns, in a
// world with the hosts of [World] and nothing else.
type Network struct{ wires *wires }

// World is what guests of a [Network] may reach: hosts that echo what they are
// sent, by their names.
var World = map[string]netip.Addr{
	"public.example":  netip.MustParseAddr("20.0.0.1"),
	"other.example":   netip.MustParseAddr("20.0.0.2"),
	"inside.example":  netip.MustParseAddr("10.9.0.1"),
	"deep.in.example": netip.MustParseAddr("20.0.0.3"),
}

// Wires are what outlives a daemon.
type wires struct {
	mu       sync.Mutex
	networks map[coppice.VMID]*wire
	uplinked bool // one of them could reach the outside: then the host has rules
}

// A wire is one VM's network. Its fields are guarded by wires.mu.
type wire struct {
	egress    coppice.Egress
	traffic   coppice.Traffic
	asked     map[netip.Addr]string    // addresses of names that were asked for
	listeners map[uint16]net.Listener  // of the guest
	dialled   map[io.Closer]bool       // from outside
	out       map[io.Closer]netip.Addr // from the guest
}

// NewNetwork returns a network of no VM.
func NewNetwork() *Network {
	return &Network{&wires{networks: map[coppice.VMID]*wire{}}}
}

// Reopen returns another network of the same VMs, as a daemon that starts makes one.
func (n *Network) Reopen() *Network { return &Network{n.wires} }

// SetUp implements [coppice.Network].
func (n *Network) SetUp(ctx context.Context, id coppice.VMID, egress coppice.Egress) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n.wires.mu.Lock()
	defer n.wires.mu.Unlock()
	w := n.wires.networks[id]
	if w == nil {
		w = &wire{
			asked: map[netip.Addr]string{}, listeners: map[uint16]net.Listener{},
			dialled: map[io.Closer]bool{}, out: map[io.Closer]netip.Addr{},
		}
		n.wires.networks[id] = w
	}
	w.egress = egress
	n.wires.uplinked = n.wires.uplinked || !egress.Closed()
	for conn, addr := range w.out {
		if !w.permits(addr) {
			conn.Close()
			delete(w.out, conn)
		}
	}
	return nil
}

func (w *wire) permits(addr netip.Addr) bool {
	return w.egress.Permits(addr) || coppice.PublicAddress(addr) && w.egress.Names(w.asked[addr]) != ""
}

// TearDown implements [coppice.Network].
func (n *Network) TearDown(ctx context.Context, id coppice.VMID) error {
	n.wires.mu.Lock()
	defer n.wires.mu.Unlock()
	w := n.wires.networks[id]
	if w == nil {
		return nil
	}
	for conn := range w.dialled {
		conn.Close()
	}
	for conn := range w.out {
		conn.Close()
	}
	for _, l := range w.listeners {
		l.Close()
	}
	delete(n.wires.networks, id)
	return nil
}

// Networks implements [coppice.Network].
func (n *Network) Networks(ctx context.Context) ([]coppice.VMID, error) {
	n.wires.mu.Lock()
	defer n.wires.mu.Unlock()
	return slices.Sorted(maps.Keys(n.wires.networks)), nil
}

// Egress returns the policy of a VM's network; empty if it has none.
func (n *Network) Egress(id coppice.VMID) coppice.Egress {
	n.wires.mu.Lock()
	defer n.wires.mu.Unlock()
	if w := n.wires.networks[id]; w != nil {
		return w.egress
	}
	return ""
}

// Dial implements [coppice.Network]. A VM of which [Network.Plug] has returned
// no guest, or whose guest has not listened yet, refuses.
func (n *Network) Dial(ctx context.Context, id coppice.VMID, port uint16) (net.Conn, error) {
	w, err := n.wire(id)
	if err != nil {
		return nil, fmt.Errorf("dial port %d of %s: %w", port, id, err)
	}
	n.wires.mu.Lock()
	l := w.listeners[port]
	n.wires.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial port %d of %s: %w", port, id, coppice.ErrRefused)
	}
	conn, err := new(net.Dialer).DialContext(ctx, l.Addr().Network(), l.Addr().String())
	if err != nil {
		return nil, fmt.Errorf("dial port %d of %s: %w", port, id, err)
	}
	n.wires.mu.Lock()
	defer n.wires.mu.Unlock()
	dialled := &wireConn{conn.(*net.TCPConn), n.wires, w}
	w.dialled[dialled.TCPConn] = true
	return dialled, nil
}

// Traffic implements [coppice.Network].
func (n *Network) Traffic(ctx context.Context, id coppice.VMID) (coppice.Traffic, error) {
	w, err := n.wire(id)
	if err != nil {
		return coppice.Traffic{}, fmt.Errorf("traffic of %s: %w", id, err)
	}
	n.wires.mu.Lock()
	defer n.wires.mu.Unlock()
	return w.traffic, nil
}

// Pass counts traffic of a VM's that nobody was seen to send.
func (n *Network) Pass(id coppice.VMID, more coppice.Traffic) {
	n.wires.mu.Lock()
	defer n.wires.mu.Unlock()
	if w := n.wires.networks[id]; w != nil {
		w.traffic.Sent += more.Sent
		w.traffic.Received += more.Received
	}
}

func (n *Network) wire(id coppice.VMID) (*wire, error) {
	n.wires.mu.Lock()
	defer n.wires.mu.Unlock()
	if w := n.wires.networks[id]; w != nil {
		return w, nil
	}
	return nil, coppice.ErrNoNetwork
}

// A wireConn counts what goes through it.
type wireConn struct {
	*net.TCPConn
	wires *wires
	wire  *wire
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.count(coppice.Traffic{Sent: int64(n)})
	return n, err
}

func (c *wireConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.count(coppice.Traffic{Received: int64(n)})
	return n, err
}

// ReadFrom and WriteTo keep io.Copy from going past Read and Write.
func (c *wireConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{c}, r) }
func (c *wireConn) WriteTo(w io.Writer) (int64, error)  { return io.Copy(w, struct{ io.Reader }{c}) }

func (c *wireConn) Close() error {
	c.wires.mu.Lock()
	delete(c.wire.dialled, c.TCPConn)
	c.wires.mu.Unlock()
	return c.TCPConn.Close()
}

func (c *wireConn) count(t coppice.Traffic) {
	c.wires.mu.Lock()
	defer c.wires.mu.Unlock()
	c.wire.traffic.Sent += t.Sent
	c.wire.traffic.Received += t.Received
}

// A NetworkGuest is what is at the guest's end of a VM's network.
type NetworkGuest struct {
	network *Network
	id      coppice.VMID
}

// Plug returns the guest of a VM, which has a network.
func (n *Network) Plug(id coppice.VMID) *NetworkGuest { return &NetworkGuest{n, id} }

// Listen returns what listens on a TCP port of the guest.
func (g *NetworkGuest) Listen(port uint16) (net.Listener, error) {
	w, err := g.network.wire(g.id)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g.network.wires.mu.Lock()
	defer g.network.wires.mu.Unlock()
	w.listeners[port] = l
	return l, nil
}

// Resolve asks for the address of a name.
func (g *NetworkGuest) Resolve(ctx context.Context, name string) (netip.Addr, error) {
	w, err := g.network.wire(g.id)
	if err != nil {
		return netip.Addr{}, err
	}
	g.network.wires.mu.Lock()
	defer g.network.wires.mu.Unlock()
	addr, ok := World[name]
	if !ok || !w.egress.Resolves(name) {
		return netip.Addr{}, fmt.Errorf("%s: no such name", name)
	}
	w.asked[addr] = name
	return addr, nil
}

// Connect connects to a host of [World], which echoes.
func (g *NetworkGuest) Connect(ctx context.Context, addr netip.Addr) (net.Conn, error) {
	w, err := g.network.wire(g.id)
	if err != nil {
		return nil, err
	}
	g.network.wires.mu.Lock()
	defer g.network.wires.mu.Unlock()
	if !w.permits(addr) || !slices.Contains(slices.Collect(maps.Values(World)), addr) {
		return nil, errors.New("no route to host")
	}
	near, far := net.Pipe()
	go io.Copy(far, far)
	w.out[near] = addr
	return near, nil
}

// Unplug does nothing: the guest is not there without the network.
func (g *NetworkGuest) Unplug() {}
