package coppice

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// An Egress says what a VM may reach. In text it is "closed", or a list of what
// is allowed, separated by commas:
//
//	open              every public address
//	10.1.0.0/16       these addresses, public or not
//	api.example.com   the public addresses of this name
//	*.example.com     those of every name below this one
//
// Whatever it says, a VM never reaches the host itself, nor another VM, and
// there is no way out by IPv6. A name allows the addresses that it is resolved
// to for the VM by its host. Values are made by [ParseEgress] and can be
// compared; the zero value says nothing, and stands for the host's default.
type Egress string

const (
	EgressClosed Egress = "closed"
	EgressOpen   Egress = "open"
)

// maxEgress bounds how many entries a policy has.
const maxEgress = 256

// ParseEgress returns the policy that text describes, in its one form: entries
// in order, each once. An error says which entry is wrong and what would be right.
func ParseEgress(text string) (Egress, error) {
	entries := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
	switch {
	case len(entries) == 0:
		return "", fmt.Errorf("an egress policy is open, closed, or a list of networks and names, as in 10.1.0.0/16,*.example.com")
	case len(entries) > maxEgress:
		return "", fmt.Errorf("an egress policy has at most %d entries, not %d", maxEgress, len(entries))
	case len(entries) == 1 && strings.EqualFold(entries[0], string(EgressClosed)):
		return EgressClosed, nil
	}
	for i, entry := range entries {
		parsed, err := parseEgressEntry(strings.ToLower(entry))
		if err != nil {
			return "", err
		}
		entries[i] = parsed
	}
	slices.Sort(entries)
	return Egress(strings.Join(slices.Compact(entries), ",")), nil
}

// parseEgressEntry returns an entry in its one form.
func parseEgressEntry(entry string) (string, error) {
	switch {
	case entry == string(EgressOpen):
		return entry, nil
	case entry == string(EgressClosed):
		return "", fmt.Errorf("closed stands alone: what else is listed would be open")
	case strings.ContainsAny(entry, "/:") || strings.Trim(entry, "0123456789.") == "":
		prefix, err := parseNetwork(entry)
		return prefix.String(), err
	}
	name := strings.TrimSuffix(entry, ".")
	if !validDomain(strings.TrimPrefix(name, "*.")) {
		return "", fmt.Errorf("%q is neither a network, as in 10.1.0.0/16, nor a name, as in example.com or *.example.com", entry)
	}
	return name, nil
}

// parseNetwork returns a network of which a VM may reach some address.
func parseNetwork(entry string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(entry)
	if addr, addrErr := netip.ParseAddr(entry); addrErr == nil {
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch addr := prefix.Addr(); {
	case err != nil:
		return prefix, fmt.Errorf("%q is no network: want one like 10.1.0.0/16, or an address", entry)
	case !addr.Is4():
		return prefix, fmt.Errorf("%s: VMs have no IPv6; list the IPv4 network, or the name", entry)
	case prefix.Masked() != prefix:
		return prefix, fmt.Errorf("%s has bits set beyond its length: want %s", entry, prefix.Masked())
	case addr.IsLoopback(), addr.IsMulticast(), prefix.Bits() > 0 && addr.As4()[0] == 0:
		return prefix, fmt.Errorf("%s cannot be reached from a VM: it is loopback or multicast, or no network at all", entry)
	}
	return prefix, nil
}

// Or returns e, or other if e says nothing.
func (e Egress) Or(other Egress) Egress {
	if e == "" {
		return other
	}
	return e
}

func (e Egress) entries() []string {
	if e == "" || e == EgressClosed {
		return nil
	}
	return strings.Split(string(e), ",")
}

// Closed reports whether nothing is allowed.
func (e Egress) Closed() bool { return len(e.entries()) == 0 }

// Open reports whether every public address is allowed.
func (e Egress) Open() bool { return slices.Contains(e.entries(), string(EgressOpen)) }

// Networks returns the networks that are allowed whether or not they are public.
func (e Egress) Networks() []netip.Prefix {
	var networks []netip.Prefix
	for _, entry := range e.entries() {
		if prefix, err := netip.ParsePrefix(entry); err == nil {
			networks = append(networks, prefix)
		}
	}
	return networks
}

// Resolves reports whether a VM may ask for the addresses of a name, which are
// public: what may not be reached may not be asked for either, or questions
// would be a way out. Where all public addresses may be reached, every name may
// be asked for.
func (e Egress) Resolves(name string) bool { return e.Open() || e.Names(name) != "" }

// Names returns the entry by which a name is allowed; empty if there is none.
func (e Egress) Names(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for _, entry := range e.entries() {
		below, ok := strings.CutPrefix(entry, "*")
		if ok && len(name) > len(below) && strings.HasSuffix(name, below) || entry == name && entry != string(EgressOpen) {
			return entry
		}
	}
	return ""
}

// Permits reports whether a VM may reach an address without having asked for a name.
func (e Egress) Permits(addr netip.Addr) bool {
	if slices.ContainsFunc(e.Networks(), func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return true
	}
	return e.Open() && PublicAddress(addr)
}

// NotPublic are the IPv4 networks that are not part of the public internet:
// what IANA lists as not globally reachable, and multicast. They do not overlap.
var NotPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("224.0.0.0/3"),
}

// PublicAddress reports whether an address is an IPv4 address of the public internet.
func PublicAddress(addr netip.Addr) bool {
	return addr.Is4() && !slices.ContainsFunc(NotPublic, func(p netip.Prefix) bool { return p.Contains(addr) })
}
