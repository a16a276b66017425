package hostnet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

const tableName = "coppice"

// dnsPort is where a guest asks for names.
const dnsPort = 53

// A ruleset are the parts of a VM's rules that change.
type ruleset struct {
	table   *nftables.Table
	forward *nftables.Chain
	// networks may be reached, whatever they are, but for what is the host's;
	// learned are the addresses of names, which may be if they are public.
	host, networks, notPublic, learned *nftables.Set
}

func rules() ruleset {
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	return ruleset{
		table:     table,
		forward:   &nftables.Chain{Name: "forward", Table: table},
		host:      &nftables.Set{Table: table, Name: "host-networks", KeyType: nftables.TypeIPAddr, Interval: true},
		networks:  &nftables.Set{Table: table, Name: "networks", KeyType: nftables.TypeIPAddr, Interval: true},
		notPublic: &nftables.Set{Table: table, Name: "not-public", KeyType: nftables.TypeIPAddr, Interval: true},
		learned:   &nftables.Set{Table: table, Name: "learned", KeyType: nftables.TypeIPAddr, HasTimeout: true},
	}
}

// fence puts in place, in the namespace of the thread, all rules that hold
// whatever the policy, and one that is closed.
func fence() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	if err := fenceTap(c); err != nil {
		return err
	}
	r := rules()
	c.AddTable(r.table)
	for set, networks := range map[*nftables.Set][]netip.Prefix{r.networks: nil, r.notPublic: coppice.NotPublic, r.learned: nil} {
		if err := addSet(c, set, ranges(networks)); err != nil {
			return err
		}
	}
	// What goes through: see enforce.
	filter(c, r.table, nftables.ChainHookForward, nftables.ChainPolicyDrop, r.forward.Name)
	// What is for the namespace itself: questions of the guest's, and answers to Dial.
	input := filter(c, r.table, nftables.ChainHookInput, nftables.ChainPolicyDrop, "input")
	rule(c, input, notIPv4(), drop())
	rule(c, input, iif("lo"), accept())
	rule(c, input, iif(tapName), state(underway), accept())
	for _, protocol := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		rule(c, input, iif(tapName), to(coppice.GuestRouter), transport(protocol), toPort(dnsPort), accept())
	}
	rule(c, input, iif(tapName), to(coppice.GuestRouter), transport(unix.IPPROTO_ICMP), echoRequest(), accept())
	// The guest's address means nothing outside.
	nat := base(c, r.table, nftables.ChainHookPostrouting, nftables.ChainTypeNAT, nftables.ChainPriorityNATSource,
		nftables.ChainPolicyAccept, "postrouting", "")
	rule(c, nat, oif(uplinkName), masquerade())
	if err := c.Flush(); err != nil {
		return fmt.Errorf("put the rules of a network in place: %w", err)
	}
	return nil
}

// fenceTap lets nothing in from the guest that is not from its own addresses.
func fenceTap(c *nftables.Conn) error {
	mac, err := net.ParseMAC(coppice.GuestMAC)
	if err != nil {
		return err
	}
	guest := coppice.GuestAddress.Addr()
	table := c.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyNetdev})
	ingress := base(c, table, nftables.ChainHookIngress, nftables.ChainTypeFilter, nftables.ChainPriorityFilter,
		nftables.ChainPolicyDrop, "ingress", tapName)
	rule(c, ingress, etherFrom(mac), etherType(unix.ETH_P_ARP), arpFrom(mac, guest), accept())
	rule(c, ingress, etherFrom(mac), etherType(unix.ETH_P_IP), from(guest), accept())
	return nil
}

// enforce puts a policy in force in the namespace of the thread, in one step. A
// connection that was accepted bears the mark of the policy that did it, and
// is looked at again when there is another. What is the host's is prohibited
// here too: nobody but coppice has a hand in these rules.
func enforce(egress coppice.Egress, host []netip.Prefix) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	r := rules()
	if err := r.unlearn(c, egress); err != nil {
		return err
	}
	if err := addSet(c, r.host, nil); err != nil {
		return err
	}
	if err := errors.Join(fill(c, r.networks, egress.Networks()), fill(c, r.host, host)); err != nil {
		return err
	}
	c.FlushChain(r.forward)
	if !egress.Closed() {
		r.allow(c, egress.Open())
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("put the policy %s in force: %w", egress, err)
	}
	return nil
}

// allow adds the rules by which the guest may reach what the sets say, and all
// that is public if open is set.
func (r ruleset) allow(c *nftables.Conn, open bool) {
	policy := rand.Uint32() | 1 // 0 is no mark
	outward, inward := append(iif(tapName), oif(uplinkName)...), append(iif(uplinkName), oif(tapName)...)
	yes := append(mark(policy), accept()...)

	rule(c, r.forward, notIPv4(), drop())
	rule(c, r.forward, outward, in(ipDestination, r.host), prohibit())
	for _, path := range []phrase{outward, inward} {
		rule(c, r.forward, path, state(underway), marked(policy), accept())
	}
	// What goes on from an earlier policy may show first from either end. Only
	// the guest begins anything.
	inward = append(inward, state(underway)...)
	public := func(path phrase, remote uint32) {
		rule(c, r.forward, path, in(remote, r.networks), yes)
		if open {
			rule(c, r.forward, path, notIn(remote, r.notPublic), yes)
		} else {
			rule(c, r.forward, path, in(remote, r.learned), yes)
		}
	}
	public(outward, ipDestination)
	public(inward, ipSource)
	rule(c, r.forward, outward, transport(unix.IPPROTO_TCP), state(underway), reset())
	rule(c, r.forward, outward, prohibit())
}

// unlearn removes the addresses of names that are not allowed any more.
func (r ruleset) unlearn(c *nftables.Conn, egress coppice.Egress) error {
	known, err := c.GetSetElements(r.learned)
	if err != nil {
		return fmt.Errorf("list the addresses of names: %w", err)
	}
	var stale []nftables.SetElement
	for _, e := range known {
		if egress.Names(e.Comment) == "" {
			stale = append(stale, nftables.SetElement{Key: e.Key})
		}
	}
	if len(stale) == 0 {
		return nil
	}
	return c.SetDeleteElements(r.learned, stale)
}

// learn allows the addresses of a name for some time, in the namespace of the thread.
func learn(name string, addresses []netip.Addr, lifetime time.Duration) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	r := rules()
	var elements []nftables.SetElement
	for _, a := range addresses {
		elements = append(elements, nftables.SetElement{Key: a.AsSlice(), Timeout: lifetime, Comment: name})
	}
	// One that is there keeps its time; and one that is not cannot be removed.
	for _, change := range []func(*nftables.Set, []nftables.SetElement) error{c.SetAddElements, c.SetDeleteElements, c.SetAddElements} {
		if err := change(r.learned, elements); err != nil {
			return err
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("allow the addresses of %s: %w", name, err)
	}
	return nil
}
