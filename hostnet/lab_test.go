package hostnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

// inLab is set in the environment of a process that has a network to itself.
const inLab = "COPPICE_TEST_IN_LAB"

// TestMain runs the tests in a network namespace of their own: whatever they
// send, nothing of it can leave.
func TestMain(m *testing.M) {
	switch {
	case os.Geteuid() != 0:
		fmt.Println("SKIP: networks are made by root")
	case os.Getenv(inLab) != "":
		os.Exit(m.Run())
	default:
		again := exec.Command("/proc/self/exe", os.Args[1:]...)
		again.Env = append(os.Environ(), inLab+"=1")
		again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
		again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if err := again.Run(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

// world are the hosts that are there besides, which echo on a port.
var world = map[string]netip.Addr{
	"public.example":  netip.MustParseAddr("20.0.0.1"),
	"other.example":   netip.MustParseAddr("20.0.0.2"),
	"deep.in.example": netip.MustParseAddr("20.0.0.3"),
	"inside.example":  netip.MustParseAddr("10.9.0.1"),
}

var (
	worldNames  = netip.MustParseAddrPort("20.0.0.53:53")
	hostOutside = netip.MustParsePrefix("20.0.0.254/24") // the host's own address
)

const echoPort = 7

// makeWorld makes a namespace with the hosts of the world, connected to the
// one the test runs in, which is the host. It returns what datagrams arrive there.
func makeWorld(t *testing.T) (got chan string) {
	t.Helper()
	got = make(chan string, 16)
	ns, err := newNamespace(func() error { return nil })
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "outside"
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "world", PeerNamespace: netlink.NsFd(ns.Fd())}))
	_, err = up("lo", netip.Prefix{})
	must(t, err)
	outside, err := up("outside", hostOutside)
	must(t, err)
	t.Cleanup(func() { netlink.LinkDel(outside) })
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: outside.Attrs().Index, Gw: world["public.example"].AsSlice()}))
	must(t, inside(ns, func() error {
		if _, err := up("lo", netip.Prefix{}); err != nil {
			return err
		}
		for _, addr := range world {
			if err := address("world", netip.PrefixFrom(addr, 24)); err != nil {
				return err
			}
			if err := echoAt(t, netip.AddrPortFrom(addr, echoPort)); err != nil {
				return err
			}
		}
		if err := address("world", netip.PrefixFrom(worldNames.Addr(), 24)); err != nil {
			return err
		}
		return errors.Join(nameAt(t, worldNames), sink(t, echoPort, got))
	}))
	return got
}

// sink passes on what datagrams come to a port.
func sink(t *testing.T, port int, got chan<- string) error {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err != nil {
		return err
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 1<<10)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			got <- string(b[:n])
		}
	}()
	return nil
}

func address(link string, addr netip.Prefix) error {
	_, err := up(link, addr)
	return err
}

// echoAt serves connections with what they send.
func echoAt(t *testing.T, at netip.AddrPort) error {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	return nil
}

// nameAt serves the names of the world.
func nameAt(t *testing.T, at netip.AddrPort) error {
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		addr, ok := world[strings.TrimSuffix(dns.CanonicalName(q.Question[0].Name), ".")]
		if !ok {
			m.Rcode = dns.RcodeNameError
		} else if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   addr.AsSlice(),
			}}
		}
		w.WriteMsg(m)
	})
	pc, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: answer}, {Listener: l, Handler: answer}} {
		go s.ActivateAndServe()
		t.Cleanup(func() { s.Shutdown() })
	}
	return nil
}

// A labGuest is a network stack at the guest's end of a VM's tap.
type labGuest struct {
	t      *testing.T
	ns     *os.File
	unplug func()
}

// plug attaches a guest to the tap of a VM.
func plug(t *testing.T, n *Network, id coppice.VMID) *labGuest {
	t.Helper()
	host, err := n.Tap(id)
	must(t, err)
	var card *os.File
	ns, err := newNamespace(func() (err error) {
		if card, err = openTap(); err != nil {
			return err
		}
		if err := wear(coppice.GuestMAC); err != nil {
			return err
		}
		if _, err := up("lo", netip.Prefix{}); err != nil {
			return err
		}
		link, err := up(tapName, coppice.GuestAddress)
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: coppice.GuestRouter.AsSlice()})
	})
	must(t, err)
	var wg sync.WaitGroup
	for dst, src := range map[*os.File]*os.File{host: card, card: host} {
		wg.Go(func() { carry(dst, src) })
	}
	g := &labGuest{t: t, ns: ns}
	g.unplug = sync.OnceFunc(func() {
		host.Close()
		card.Close()
		wg.Wait()
		ns.Close()
	})
	t.Cleanup(g.unplug)
	return g
}

// carry passes frames on until one end is closed.
func carry(dst, src *os.File) {
	frame := make([]byte, 1<<16)
	for {
		n, err := src.Read(frame)
		if err != nil {
			return
		}
		if _, err := dst.Write(frame[:n]); err != nil && !errors.Is(err, unix.EIO) {
			return
		}
	}
}

func (g *labGuest) Unplug() { g.unplug() }

func (g *labGuest) Listen(port uint16) (l net.Listener, err error) {
	err = inside(g.ns, func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	})
	return l, err
}

func (g *labGuest) Connect(ctx context.Context, addr netip.Addr) (net.Conn, error) {
	return g.dial(ctx, "tcp4", netip.AddrPortFrom(addr, echoPort).String())
}

func (g *labGuest) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = inside(g.ns, func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func (g *labGuest) Resolve(ctx context.Context, name string) (netip.Addr, error) {
	answer, err := g.ask(ctx, "udp", name, dns.TypeA)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, record := range answer.Answer {
		if a, ok := record.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(a.A.To4())
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s: %s", name, dns.RcodeToString[answer.Rcode])
}

// ask asks the guest's resolver.
func (g *labGuest) ask(ctx context.Context, network, name string, kind uint16) (*dns.Msg, error) {
	conn, err := g.dial(ctx, network+"4", netip.AddrPortFrom(coppice.GuestRouter, dnsPort).String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	answer, _, err := new(dns.Client).ExchangeWithConnContext(ctx, question, &dns.Conn{Conn: conn})
	return answer, err
}

// open returns a network like a daemon's, with names from the world.
func open(t *testing.T, dir string) *Network {
	n := New(Config{Dir: dir, Resolvers: []netip.AddrPort{worldNames}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	t.Cleanup(func() { n.Close() })
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keepNothing makes what is left of a network when the host has been rebooted.
func keepNothing(name string) error { return os.WriteFile(name, nil, 0o600) }
