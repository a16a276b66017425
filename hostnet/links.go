package hostnet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

const (
	tapName    = "tap"    // in a VM's namespace: the host's end of the guest's card
	uplinkName = "uplink" // in a VM's namespace: the way out
	// routerMAC is the same in every namespace: a guest that is restored in
	// another one goes on sending to it.
	routerMAC = "52:54:00:c0:99:1d"
	// hostPrefix begins the name of the other end of an uplink, on the host.
	hostPrefix = "cpv"
)

// uplinks is where the two ends of every uplink on a host have their addresses.
// It is part of no real network, and no guest sees it.
var uplinks = netip.MustParsePrefix("198.18.0.0/16")

// maxUplinks is how many pairs of addresses there are.
const maxUplinks = 1 << 15

// inNamespace are the kernel's settings in a VM's namespace.
var inNamespace = map[string]string{
	"ipv6/conf/all/disable_ipv6":     "1",
	"ipv6/conf/default/disable_ipv6": "1",
	"ipv4/ip_forward":                "1",
	"ipv4/conf/all/send_redirects":   "0",
	"ipv4/conf/all/accept_redirects": "0",
	"ipv4/icmp_ratelimit":            "0", // a guest is told at once what it cannot reach
}

// set sets one of the kernel's settings in the network namespace of the thread.
// What the kernel has no IPv6 for needs no setting.
func set(name, value string) error {
	err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
	if strings.HasPrefix(name, "ipv6/") && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// furnish gives the namespace of the thread, which is new, its tap. The guest's
// hardware address is known: nobody need ask for it, nor wait for a guest that
// does not execute to answer.
func furnish() error {
	for name, value := range inNamespace {
		if err := set(name, value); err != nil {
			return err
		}
	}
	if err := makeTap(); err != nil {
		return err
	}
	if err := wear(routerMAC); err != nil {
		return err
	}
	link, err := up(tapName, netip.PrefixFrom(coppice.GuestRouter, coppice.GuestAddress.Bits()))
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(coppice.GuestMAC)
	if err != nil {
		return err
	}
	if err := netlink.NeighAdd(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, IP: coppice.GuestAddress.Addr().AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT,
	}); err != nil {
		return fmt.Errorf("tell the host's end where the guest is: %w", err)
	}
	if _, err := up("lo", netip.Prefix{}); err != nil {
		return err
	}
	return nil
}

// makeTap makes the tap of the thread's namespace, which stays. No process is
// forked meanwhile: until it executes it would have the tap open as well, and
// the machine that the tap is for could not open it.
func makeTap() error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := openTap()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("keep a tap: %w", err)
	}
	return nil
}

// wear gives the tap of the thread's namespace a hardware address.
func wear(address string) error {
	mac, err := net.ParseMAC(address)
	if err != nil {
		return err
	}
	link, err := netlink.LinkByName(tapName)
	if err != nil {
		return err
	}
	return netlink.LinkSetHardwareAddr(link, mac)
}

// up takes a link of the thread's namespace into service, with an address if
// that is valid.
func up(name string, addr netip.Prefix) (netlink.Link, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	if addr.IsValid() {
		ip := &net.IPNet{IP: addr.Addr().AsSlice(), Mask: net.CIDRMask(addr.Bits(), 32)}
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ip}); err != nil {
			return nil, fmt.Errorf("give %s the address %s: %w", name, addr, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("take %s into service: %w", name, err)
	}
	return link, nil
}

// openTap opens the tap in the namespace of the thread, and makes it if it is
// not there. One can have it open at a time.
func openTap() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	request, err := unix.NewIfreq(tapName)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open the tap: %w", err)
	}
	return os.NewFile(uintptr(fd), tapName), nil
}

// Tap opens the host's end of a VM's network card, for the process that is the
// machine. There can be one. The caller closes it.
func (n *Network) Tap(id coppice.VMID) (tap *os.File, err error) {
	err = n.inside(id, func() (err error) {
		tap, err = openTap()
		return err
	})
	return tap, err
}

// uplink gives a namespace a way out, if it has none. It is called on the host.
func uplink(ns *os.File) error {
	if err := receive(); err != nil {
		return err
	}
	whole := false
	if err := inside(ns, func() (err error) {
		whole, err = uplinked()
		if err == nil && !whole {
			err = cutUplink() // one that was not finished
		}
		return err
	}); err != nil || whole {
		return err
	}
	slot, err := addUplink(ns)
	if err != nil {
		return err
	}
	host, guest := uplinkAddresses(slot)
	name := fmt.Sprint(hostPrefix, slot)
	if err := set("ipv6/conf/"+name+"/disable_ipv6", "1"); err != nil {
		return err
	}
	if _, err := up(name, host); err != nil {
		return err
	}
	return inside(ns, func() error {
		link, err := up(uplinkName, guest)
		if err != nil {
			return err
		}
		// This comes last: see uplinked.
		return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: host.Addr().AsSlice()})
	})
}

// addUplink makes a pair of links of which one is in ns. The name of the other
// is what reserves the addresses, whoever makes such links on this host.
func addUplink(ns *os.File) (slot int, err error) {
	first := rand.IntN(maxUplinks)
	for i := range maxUplinks {
		slot = (first + i) % maxUplinks
		attrs := netlink.NewLinkAttrs()
		attrs.Name = fmt.Sprint(hostPrefix, slot)
		err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: uplinkName, PeerNamespace: netlink.NsFd(ns.Fd())})
		if !errors.Is(err, unix.EEXIST) {
			break
		}
	}
	if err != nil {
		return 0, fmt.Errorf("make an uplink: %w", err)
	}
	return slot, nil
}

// uplinkAddresses returns the addresses of the two ends of an uplink.
func uplinkAddresses(slot int) (host, guest netip.Prefix) {
	a := uplinks.Addr().As4()
	a[2], a[3] = byte(slot>>7), byte(slot<<1)
	host = netip.PrefixFrom(netip.AddrFrom4(a), 31)
	return host, netip.PrefixFrom(host.Addr().Next(), 31)
}

// uplinked reports whether the namespace of the thread has an uplink that is whole.
func uplinked() (bool, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	for _, r := range routes {
		if r.Gw != nil {
			return true, err
		}
	}
	return false, err
}

// cutUplink removes both ends of the uplink of the thread's namespace, if there is one.
func cutUplink() error { return removeLink(uplinkName) }

// clear removes every link of the thread's namespace.
func clear() error { return errors.Join(removeLink(uplinkName), removeLink(tapName)) }

func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return nil
	}
	return err
}

// Traffic implements [coppice.Network].
func (n *Network) Traffic(ctx context.Context, id coppice.VMID) (t coppice.Traffic, err error) {
	err = n.inside(id, func() error {
		link, err := netlink.LinkByName(tapName)
		if err != nil {
			return err
		}
		s := link.Attrs().Statistics
		t = coppice.Traffic{Sent: int64(s.RxBytes), Received: int64(s.TxBytes)}
		return nil
	})
	return t, err
}
