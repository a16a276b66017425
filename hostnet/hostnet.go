// Package hostnet gives every VM a network namespace of its own, with the tap
// that is the guest's network card, and decides there what the guest may reach.
//
//	guest ── tap │ the VM's namespace: router, resolver, rules │ uplink ── cpvN │ the host
//
// A namespace is kept by a file in Config.Dir, named like the VM: nsenter --net=FILE
// looks inside. A file that is a namespace is complete, since it becomes one last.
// The uplink is there only while something outside may be reached.
//
// The rules are the kernel's, and so is all that carries packets: that goes on
// without the daemon. Only names are resolved by the daemon itself.
package hostnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

// Config says where networks are kept.
type Config struct {
	// Dir has a file for each network. It is made if need be.
	Dir string
	// Resolvers answer the guests' questions for names; none is those of the
	// host's /etc/resolv.conf, whatever they are at the time.
	Resolvers []netip.AddrPort
	Log       *slog.Logger
}

// A Network is a [coppice.Network] of Linux namespaces.
type Network struct {
	Config

	mu     sync.Mutex
	guests map[coppice.VMID]*guest
}

// A guest is what this daemon holds of a VM's network.
type guest struct {
	id coppice.VMID

	setting sync.Mutex // held while the network is set up or torn down, and guards:
	ns      *os.File   // nil if there is none
	egress  coppice.Egress
	names   *resolver // nil while it was not needed yet

	mu    sync.Mutex
	conns map[io.Closer]bool // of Dial, made and in the making; nil when there may be none
}

// New returns a network. It neither makes nor looks for anything yet.
func New(cfg Config) *Network {
	return &Network{Config: cfg, guests: map[coppice.VMID]*guest{}}
}

// Close lets go of every network, which another one of the same directory can
// take up. Names are not resolved meanwhile.
func (n *Network) Close() error {
	n.mu.Lock()
	ids := slices.Collect(maps.Keys(n.guests))
	n.mu.Unlock()
	var errs []error
	for _, id := range ids {
		g := n.lock(id)
		errs = append(errs, g.letGo())
		n.unlock(g)
	}
	return errors.Join(errs...)
}

// lock returns what is held of a VM's network, for its caller alone until unlock.
// There is one such thing at a time: nobody gets one that has been forgotten.
func (n *Network) lock(id coppice.VMID) *guest {
	for {
		n.mu.Lock()
		g := n.guests[id]
		if g == nil {
			g = &guest{id: id}
			n.guests[id] = g
		}
		n.mu.Unlock()
		g.setting.Lock()
		n.mu.Lock()
		current := n.guests[id] == g
		n.mu.Unlock()
		if current {
			return g
		}
		g.setting.Unlock()
	}
}

// unlock lets the next one have what lock has returned, and forgets it if there
// is no network.
func (n *Network) unlock(g *guest) {
	if g.ns == nil {
		n.mu.Lock()
		delete(n.guests, g.id)
		n.mu.Unlock()
	}
	g.setting.Unlock()
}

func (n *Network) file(id coppice.VMID) string { return filepath.Join(n.Dir, string(id)) }

// SetUp implements [coppice.Network].
func (n *Network) SetUp(ctx context.Context, id coppice.VMID, egress coppice.Egress) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !id.Valid() { // or the name might lead out of the directory
		return fmt.Errorf("set up a network: %q is no VM id", id)
	}
	g := n.lock(id)
	defer n.unlock(g)
	if err := n.setUp(ctx, g, egress); err != nil {
		return fmt.Errorf("set up the network of %s: %w", id, err)
	}
	return nil
}

func (n *Network) setUp(ctx context.Context, g *guest, egress coppice.Egress) error {
	err := n.take(g)
	if errors.Is(err, coppice.ErrNoNetwork) {
		err = n.make(ctx, g)
	}
	if err != nil {
		return err
	}
	if g.egress == egress {
		return nil
	}
	g.egress = "" // until it is in force
	if err := n.put(ctx, g, egress); err != nil {
		if g.names != nil {
			g.names.obey(coppice.EgressClosed) // or it would allow what the old rules do not
		}
		return err
	}
	g.egress = egress
	return nil
}

// Points on the way to a network, and on its way out.
var (
	furnished = failpoint.New("hostnet/make/furnished")
	kept      = failpoint.New("hostnet/make/kept")
	linked    = failpoint.New("hostnet/put/linked")
	emptied   = failpoint.New("hostnet/tear-down/emptied")
)

// put puts a policy in force, the resolver first: it is what adds to the rules.
func (n *Network) put(ctx context.Context, g *guest, egress coppice.Egress) error {
	if g.names != nil {
		g.names.obey(egress)
	}
	if egress.Closed() {
		if err := inside(g.ns, func() error { return errors.Join(enforce(egress, nil), cutUplink()) }); err != nil || g.names == nil {
			return err
		}
		g.names.close()
		g.names = nil
		return nil
	}
	if err := uplink(g.ns); err != nil {
		return err
	}
	if err := linked.Hit(ctx); err != nil {
		return err
	}
	host, err := hostNetworks()
	if err != nil {
		return err
	}
	if err := inside(g.ns, func() error { return enforce(egress, host) }); err != nil {
		return err
	}
	if g.names != nil {
		return nil
	}
	g.names, err = n.newResolver(g.ns, egress)
	return err
}

// take opens a network that is there; [coppice.ErrNoNetwork] if there is none.
// The caller holds g.setting, here and below.
func (n *Network) take(g *guest) error {
	if g.ns != nil {
		return nil
	}
	ns, err := openNamespace(n.file(g.id))
	if err != nil {
		return err
	}
	g.hold(ns)
	return nil
}

// make makes a network, closed.
func (n *Network) make(ctx context.Context, g *guest) error {
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return err
	}
	ns, err := newNamespace(func() error {
		if err := furnish(); err != nil {
			return err
		}
		return fence()
	})
	if err != nil {
		return err
	}
	if err := furnished.Hit(ctx); err != nil {
		return errors.Join(err, ns.Close())
	}
	if err := keepNamespace(ns, n.file(g.id)); err != nil {
		return errors.Join(err, ns.Close())
	}
	g.hold(ns)
	return kept.Hit(ctx)
}

func (g *guest) hold(ns *os.File) {
	g.ns, g.egress = ns, ""
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns = map[io.Closer]bool{}
}

// letGo closes all that is held of a network.
func (g *guest) letGo() error {
	var errs []error
	g.mu.Lock()
	for conn := range g.conns {
		errs = append(errs, conn.Close())
	}
	g.conns = nil
	g.mu.Unlock()
	if g.names != nil {
		g.names.close()
		g.names = nil
	}
	if g.ns != nil {
		errs = append(errs, g.ns.Close())
		g.ns = nil
	}
	g.egress = ""
	return errors.Join(errs...)
}

// TearDown implements [coppice.Network].
func (n *Network) TearDown(ctx context.Context, id coppice.VMID) error {
	if !id.Valid() {
		return fmt.Errorf("tear down a network: %q is no VM id", id)
	}
	g := n.lock(id)
	defer n.unlock(g)
	if err := n.tearDown(ctx, g); err != nil {
		return fmt.Errorf("tear down the network of %s: %w", id, err)
	}
	return nil
}

// tearDown empties a namespace before it goes: whatever still holds it, nothing
// is left on the host.
func (n *Network) tearDown(ctx context.Context, g *guest) error {
	err := n.take(g)
	if err == nil {
		err = inside(g.ns, clear)
	}
	if err != nil && !errors.Is(err, coppice.ErrNoNetwork) {
		return err
	}
	if err := emptied.Hit(ctx); err != nil {
		return err
	}
	return errors.Join(g.letGo(), dropNamespace(n.file(g.id)))
}

// Networks implements [coppice.Network].
func (n *Network) Networks(ctx context.Context) ([]coppice.VMID, error) {
	files, err := os.ReadDir(n.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ids []coppice.VMID
	for _, f := range files {
		if id := coppice.VMID(f.Name()); id.Valid() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// use does something with the network of a VM that has one.
func (n *Network) use(id coppice.VMID, do func(*guest) error) error {
	if !id.Valid() {
		return fmt.Errorf("%q is no VM id", id)
	}
	g := n.lock(id)
	defer n.unlock(g)
	if err := n.take(g); err != nil {
		return err
	}
	return do(g)
}

// inside runs f on a thread in the namespace of a VM's network, as use does.
func (n *Network) inside(id coppice.VMID, f func() error) error {
	return n.use(id, func(g *guest) error { return inside(g.ns, f) })
}
