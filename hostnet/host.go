package hostnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

// hostRules is a chain without rules. Its name says which version of the host's
// rules is in place.
const hostRules = "version-1"

// receive makes the host pass on what comes by uplinks: to the outside with an
// address of its own, and nowhere else; not to itself, and not from one uplink
// to another. All daemons of a host want the same of it. That it forwards at all
// is a setting of the whole host's.
func receive() error {
	const forwarding = "/proc/sys/net/ipv4/ip_forward"
	if on, err := os.ReadFile(forwarding); err != nil {
		return err
	} else if bytes.HasPrefix(on, []byte("0")) {
		if err := os.WriteFile(forwarding, []byte("1"), 0); err != nil {
			return err
		}
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	if there, err := received(c); err != nil || there {
		return err
	}
	c.AddTable(table) // or it could not be replaced
	c.DelTable(table)
	c.AddTable(table)
	c.AddChain(&nftables.Chain{Name: hostRules, Table: table})
	input := filter(c, table, nftables.ChainHookInput, nftables.ChainPolicyAccept, "input")
	rule(c, input, iifPrefix(hostPrefix), prohibit())
	forward := filter(c, table, nftables.ChainHookForward, nftables.ChainPolicyAccept, "forward")
	rule(c, forward, iifPrefix(hostPrefix), oifPrefix(hostPrefix), prohibit())
	rule(c, forward, iifPrefix(hostPrefix), notIPv4(), drop())
	rule(c, forward, oifPrefix(hostPrefix), state(underway), accept())
	rule(c, forward, oifPrefix(hostPrefix), drop())
	nat := base(c, table, nftables.ChainHookPostrouting, nftables.ChainTypeNAT, nftables.ChainPriorityNATSource,
		nftables.ChainPolicyAccept, "postrouting", "")
	rule(c, nat, etherType(unix.ETH_P_IP), fromNetwork(uplinks), notOifPrefix(hostPrefix), masquerade())
	if err := c.Flush(); err != nil {
		return fmt.Errorf("put the host's rules for uplinks in place: %w", err)
	}
	return nil
}

// received reports whether the rules of [receive] are in place.
func received(c *nftables.Conn) (bool, error) {
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	return slices.ContainsFunc(chains, func(c *nftables.Chain) bool { return c.Table.Name == tableName && c.Name == hostRules }), err
}

// hostNetworks returns what the host has for itself now: its IPv4 addresses, and
// the network of uplinks as a whole, however many there are.
func hostNetworks() ([]netip.Prefix, error) {
	list, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, err
	}
	all := []netip.Prefix{uplinks}
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP.To4()); ok && !uplinks.Contains(addr) {
			all = append(all, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	return all, nil
}

// Purge takes away every network kept in a directory, and the host's rules if
// no uplink needs them any more.
func Purge(ctx context.Context, dir string) error {
	n := New(Config{Dir: dir})
	ids, err := n.Networks(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := n.TearDown(ctx, id); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, link := range links {
		if strings.HasPrefix(link.Attrs().Name, hostPrefix) {
			return nil // of another data directory
		}
	}
	return dismiss()
}

// dismiss removes the host's rules.
func dismiss() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	c.AddTable(table) // or it could not be removed
	c.DelTable(table)
	return c.Flush()
}

// Check returns an error that says what a host lacks that networks need. It
// makes one, and leaves nothing of it.
func Check() error {
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("taps cannot be made: %w (modprobe tun)", err)
	}
	ns, err := newNamespace(func() error { return errors.Join(furnish(), fence(), enforce(coppice.EgressOpen, nil)) })
	if err != nil {
		return err
	}
	return errors.Join(inside(ns, clear), ns.Close())
}
