package hostnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"

	"github.com/coppice-vm/coppice"
)

// attach sets up a network with a guest, for the time of the test.
func attach(t *testing.T, n *Network, egress coppice.Egress) (coppice.VMID, *labGuest) {
	t.Helper()
	id := coppice.NewVMID()
	must(t, n.SetUp(t.Context(), id, egress))
	t.Cleanup(func() {
		if err := n.TearDown(context.Background(), id); err != nil {
			t.Errorf("tear down at the end: %v", err)
		}
	})
	return id, plug(t, n, id)
}

// reaches reports whether a guest can connect to an address, at once.
func (g *labGuest) reaches(to netip.AddrPort) bool {
	g.t.Helper()
	return g.connect(to, time.Second) == nil
}

// gets to the address of a host in the world that it may reach, also where a
// first packet is lost.
func (g *labGuest) gets(to netip.Addr) {
	g.t.Helper()
	if err := g.connect(netip.AddrPortFrom(to, echoPort), 20*time.Second); err != nil {
		g.t.Errorf("the guest does not reach what it may: %v", err)
	}
}

func (g *labGuest) connect(to netip.AddrPort, within time.Duration) error {
	ctx, cancel := context.WithTimeout(g.t.Context(), within)
	defer cancel()
	conn, err := g.dial(ctx, "tcp", to.String())
	if err == nil {
		conn.Close()
	}
	return err
}

// TestSpoofing holds that nothing passes that a guest sends in another's name:
// of all its datagrams the world gets only the honest ones.
func TestSpoofing(t *testing.T) {
	got := makeWorld(t)
	n := open(t, t.TempDir())
	_, guest := attach(t, n, coppice.EgressOpen)
	others := []string{"198.19.0.9/32", "10.0.0.5/32", "20.0.0.77/32"}
	for _, other := range others {
		prefix := netip.MustParsePrefix(other)
		must(t, inside(guest.ns, func() error { return address(tapName, prefix) }))
		guest.send(prefix.Addr(), "forged: as "+other)
	}
	honest := func(text string) {
		t.Helper()
		guest.send(coppice.GuestAddress.Addr(), text)
		if first := <-got; first != text {
			t.Errorf("the world got %q, then maybe %q", first, text)
		}
	}
	honest("honest: as itself")
	must(t, inside(guest.ns, func() error { return wear("52:54:00:00:00:99") }))
	guest.send(coppice.GuestAddress.Addr(), "forged: with another hardware address")
	must(t, inside(guest.ns, func() error { return wear(coppice.GuestMAC) }))
	honest("honest: with its own hardware address")
}

// send sends the world a datagram from an address of the guest's.
func (g *labGuest) send(from netip.Addr, text string) {
	g.t.Helper()
	must(g.t, inside(g.ns, func() error {
		to := netip.AddrPortFrom(world["public.example"], echoPort)
		conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: from.AsSlice()}, net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte(text))
		return err
	}))
}

// TestNobodyElse holds that whatever the policy, a guest reaches neither the
// host nor another guest, nor anything by IPv6.
func TestNobodyElse(t *testing.T) {
	makeWorld(t)
	n := open(t, t.TempDir())
	_, guest := attach(t, n, "0.0.0.0/0")
	other, twin := attach(t, n, "0.0.0.0/0")
	l, err := twin.Listen(echoPort)
	must(t, err)
	defer l.Close()
	must(t, echoAt(t, netip.AddrPortFrom(netip.IPv4Unspecified(), echoPort))) // the host
	must(t, n.inside(other, func() error {
		return echoAt(t, netip.AddrPortFrom(netip.IPv4Unspecified(), echoPort+1))
	}))

	forbidden := map[string]netip.AddrPort{
		"the host":            netip.AddrPortFrom(hostOutside.Addr(), echoPort),
		"the host's loopback": netip.MustParseAddrPort("127.0.0.1:7"),
		"its own router":      netip.AddrPortFrom(coppice.GuestRouter, echoPort),
		"the router by IPv6":  netip.MustParseAddrPort("[fd00::1]:7"),
	}
	links, err := netlink.LinkList()
	must(t, err)
	for _, link := range links {
		addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
		must(t, err)
		for _, a := range addresses {
			host, _ := netip.AddrFromSlice(a.IP.To4())
			if uplinks.Contains(host) {
				forbidden["the host's end of "+link.Attrs().Name] = netip.AddrPortFrom(host, echoPort)
				forbidden["the guest's end of "+link.Attrs().Name] = netip.AddrPortFrom(host.Next(), echoPort+1)
			}
		}
	}
	if len(forbidden) != 4+4 {
		t.Errorf("there should be two uplinks: %v", forbidden)
	}
	must(t, inside(guest.ns, func() error {
		link, err := netlink.LinkByName(tapName)
		if err != nil {
			return err
		}
		six, err := netlink.ParseAddr("fd00::2/64")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(link, six)
	}))
	for what, at := range forbidden {
		if guest.reaches(at) {
			t.Errorf("the guest reaches %s at %s", what, at)
		}
	}
	guest.gets(world["inside.example"])
	// Even if somebody removes all rules from the host.
	must(t, dismiss())
	if guest.reaches(netip.AddrPortFrom(hostOutside.Addr(), echoPort)) {
		t.Errorf("the guest reaches the host, which has no rules any more")
	}
	must(t, n.SetUp(t.Context(), other, coppice.EgressOpen)) // which puts them in place again
	guest.gets(world["inside.example"])
}

// TestResolver holds how names are resolved, beyond what the port promises.
func TestResolver(t *testing.T) {
	makeWorld(t)
	n := open(t, t.TempDir())
	id, guest := attach(t, n, "public.example")
	ask := func(network, name string, kind uint16) *dns.Msg {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		answer, err := guest.ask(ctx, network, name, kind)
		must(t, err)
		return answer
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, test := range []struct {
			name    string
			kind    uint16
			rcode   int
			answers int
		}{
			{"public.example", dns.TypeA, dns.RcodeSuccess, 1},
			{"PUBLIC.example", dns.TypeA, dns.RcodeSuccess, 1},
			{"public.example", dns.TypeAAAA, dns.RcodeSuccess, 0},
			{"public.example", dns.TypeTXT, dns.RcodeSuccess, 0},
			{"other.example", dns.TypeA, dns.RcodeRefused, 0},
			{"secret.other.example", dns.TypeTXT, dns.RcodeRefused, 0},
		} {
			answer := ask(network, test.name, test.kind)
			if answer.Rcode != test.rcode || len(answer.Answer) != test.answers {
				t.Errorf("%s, %s of %s: %v", network, dns.TypeToString[test.kind], test.name, answer)
			}
		}
	}
	must(t, n.SetUp(t.Context(), id, coppice.EgressOpen))
	if answer := ask("udp", "nowhere.example", dns.TypeA); answer.Rcode != dns.RcodeNameError {
		t.Errorf("a name that is not there: %v", answer)
	}
	deaf := open(t, t.TempDir())
	deaf.Resolvers = []netip.AddrPort{netip.MustParseAddrPort("20.0.0.53:54")} // where nobody is
	_, guest = attach(t, deaf, coppice.EgressOpen)
	if answer := ask("udp", "public.example", dns.TypeA); answer.Rcode != dns.RcodeServerFailure {
		t.Errorf("a resolver that does not answer: %v", answer)
	}
}

// TestManyConnections holds that a guest has so many connections to its resolver
// and no more, and that one which waits gets its turn.
func TestManyConnections(t *testing.T) {
	makeWorld(t)
	n := open(t, t.TempDir())
	_, guest := attach(t, n, coppice.EgressOpen)
	ask := func(conn *dns.Conn) error {
		must(t, conn.WriteMsg(new(dns.Msg).SetQuestion("public.example.", dns.TypeA)))
		_, err := conn.ReadMsg()
		return err
	}
	var conns []*dns.Conn
	for range maxConns + 1 {
		conn, err := guest.dial(t.Context(), "tcp4", netip.AddrPortFrom(coppice.GuestRouter, dnsPort).String())
		must(t, err)
		defer conn.Close()
		conns = append(conns, &dns.Conn{Conn: conn})
	}
	for _, conn := range conns[:maxConns] {
		must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		must(t, ask(conn))
	}
	last := conns[maxConns]
	must(t, last.SetDeadline(time.Now().Add(500*time.Millisecond)))
	if err := ask(last); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one more was answered with %v", err)
	}
	must(t, conns[0].Close())
	must(t, last.SetDeadline(time.Now().Add(10*time.Second)))
	if _, err := last.ReadMsg(); err != nil {
		t.Errorf("when another had left: %v", err)
	}
}

// TestLeftovers holds that what was there before a reboot of the host, or was
// half made, is made anew and removed like anything else.
func TestLeftovers(t *testing.T) {
	makeWorld(t)
	dir := t.TempDir()
	n := open(t, dir)
	id := coppice.NewVMID()
	must(t, keepNothing(n.file(id)))
	if ids, err := n.Networks(t.Context()); err != nil || len(ids) != 1 {
		t.Errorf("networks are %v, %v", ids, err)
	}
	must(t, n.SetUp(t.Context(), id, coppice.EgressOpen))

	// An uplink that was not finished.
	must(t, n.inside(id, func() error {
		link, err := netlink.LinkByName(uplinkName)
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(link) // which removes the route
	}))
	must(t, n.Close())
	n = open(t, dir)
	must(t, n.SetUp(t.Context(), id, coppice.EgressOpen))
	guest := plug(t, n, id)
	guest.gets(world["public.example"])
	guest.Unplug()
	must(t, Purge(t.Context(), dir))
	links, err := netlink.LinkList()
	must(t, err)
	for _, link := range links {
		if name := link.Attrs().Name; name != "lo" && name != "outside" {
			t.Errorf("the link %s is left on the host", name)
		}
	}
	must(t, Check())
}

// TestManyAddresses holds that a guest reaches none of the host's addresses,
// however many there are, and that what its rules know of the host does not grow
// with the number of VMs.
func TestManyAddresses(t *testing.T) {
	makeWorld(t)
	outside, err := netlink.LinkByName("outside")
	must(t, err)
	var last netip.Addr
	for i := range 5000 { // no two of which are neighbours
		last = netip.AddrFrom4([4]byte{20, 1, byte(i >> 7), byte(i << 1)})
		must(t, netlink.AddrAdd(outside, &netlink.Addr{IPNet: &net.IPNet{IP: last.AsSlice(), Mask: net.CIDRMask(32, 32)}}))
	}
	must(t, echoAt(t, netip.AddrPortFrom(netip.IPv4Unspecified(), echoPort)))
	n := open(t, t.TempDir())
	before, err := hostNetworks()
	must(t, err)
	_, guest := attach(t, n, "0.0.0.0/0")
	attach(t, n, coppice.EgressOpen)
	after, err := hostNetworks()
	must(t, err)
	if len(before) != len(after) || len(before) < 5000 {
		t.Errorf("the host has %d networks for itself, and with two VMs %d", len(before), len(after))
	}
	guest.gets(world["public.example"])
	must(t, dismiss()) // what prohibits it on the host
	for _, at := range []netip.Addr{hostOutside.Addr(), netip.MustParseAddr("20.1.0.0"), last} {
		if guest.reaches(netip.AddrPortFrom(at, echoPort)) {
			t.Errorf("the guest reaches the host at %s", at)
		}
	}
}

// TestNobodyGetsIn holds that a guest and its router are reached from the host by
// nobody but Dial, even by one who knows the way and has removed the host's rules.
func TestNobodyGetsIn(t *testing.T) {
	makeWorld(t)
	n := open(t, t.TempDir())
	id, guest := attach(t, n, "0.0.0.0/0")
	l, err := guest.Listen(80)
	must(t, err)
	defer l.Close()
	must(t, n.inside(id, func() error { return echoAt(t, netip.AddrPortFrom(netip.IPv4Unspecified(), echoPort)) }))
	conn, err := n.Dial(t.Context(), id, 80)
	must(t, err)
	must(t, conn.Close())

	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	must(t, err)
	i := slices.IndexFunc(routes, func(r netlink.Route) bool {
		return r.Dst != nil && uplinks.Contains(netip.MustParseAddr(r.Dst.IP.String()))
	})
	if i < 0 {
		t.Fatal("there is no uplink")
	}
	host, err := netip.ParsePrefix(routes[i].Dst.String())
	must(t, err)
	router := host.Addr().Next()
	to := &net.IPNet{IP: coppice.GuestAddress.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: routes[i].LinkIndex, Dst: to, Gw: router.AsSlice()}))
	must(t, dismiss())
	for what, at := range map[string]netip.AddrPort{
		"the guest":                  netip.AddrPortFrom(coppice.GuestAddress.Addr(), 80),
		"its router":                 netip.AddrPortFrom(router, echoPort),
		"its resolver":               netip.AddrPortFrom(router, dnsPort),
		"its router, by its address": netip.AddrPortFrom(coppice.GuestRouter, echoPort),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		conn, err := new(net.Dialer).DialContext(ctx, "tcp4", at.String())
		if err == nil {
			conn.Close()
			t.Errorf("the host reaches %s at %s", what, at)
		}
		cancel()
	}
}
