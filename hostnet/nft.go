package hostnet

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A rule is written as nft(8) would write it, each function one phrase of it.
type phrase []expr.Any

const register = 1

// rule adds a rule to a chain.
func rule(c *nftables.Conn, chain *nftables.Chain, phrases ...phrase) {
	c.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: slices.Concat(phrases...)})
}

// numbering is held while the library gives a set its number, which it counts in
// a variable of its own without a lock: two sets of one transaction could get
// the same, and what is meant for one be in the other.
var numbering sync.Mutex

// addSet adds a set with its elements.
func addSet(c *nftables.Conn, set *nftables.Set, elements []nftables.SetElement) error {
	numbering.Lock()
	defer numbering.Unlock()
	return c.AddSet(set, elements)
}

// base adds a chain that packets come to by themselves.
func base(c *nftables.Conn, table *nftables.Table, hook *nftables.ChainHook, kind nftables.ChainType,
	priority *nftables.ChainPriority, policy nftables.ChainPolicy, name, device string) *nftables.Chain {
	return c.AddChain(&nftables.Chain{
		Name: name, Table: table, Type: kind, Hooknum: hook, Priority: priority, Policy: &policy, Device: device,
	})
}

// filter adds a chain that decides what of a namespace's packets goes on.
func filter(c *nftables.Conn, table *nftables.Table, hook *nftables.ChainHook, policy nftables.ChainPolicy, name string) *nftables.Chain {
	return base(c, table, hook, nftables.ChainTypeFilter, nftables.ChainPriorityFilter, policy, name, "")
}

func compare(op expr.CmpOp, data []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: register, Data: data}
}

func meta(key expr.MetaKey, op expr.CmpOp, data []byte) phrase {
	return phrase{&expr.Meta{Key: key, Register: register}, compare(op, data)}
}

// iif and oif match the link a packet came by, or leaves by.
func iif(name string) phrase { return meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, linkName(name)) }
func oif(name string) phrase { return meta(expr.MetaKeyOIFNAME, expr.CmpOpEq, linkName(name)) }

// iifPrefix and oifPrefix match all links whose names begin so; notOifPrefix the others.
func iifPrefix(name string) phrase    { return meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, []byte(name)) }
func oifPrefix(name string) phrase    { return meta(expr.MetaKeyOIFNAME, expr.CmpOpEq, []byte(name)) }
func notOifPrefix(name string) phrase { return meta(expr.MetaKeyOIFNAME, expr.CmpOpNeq, []byte(name)) }

func linkName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// etherType matches the protocol above Ethernet.
func etherType(protocol uint16) phrase {
	return meta(expr.MetaKeyPROTOCOL, expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, protocol))
}

func notIPv4() phrase { return meta(expr.MetaKeyNFPROTO, expr.CmpOpNeq, []byte{unix.NFPROTO_IPV4}) }

// transport matches a protocol above IP.
func transport(protocol byte) phrase {
	return meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{protocol})
}

func payload(base expr.PayloadBase, offset uint32, data []byte) phrase {
	return phrase{load(base, offset, uint32(len(data))), compare(expr.CmpOpEq, data)}
}

func load(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

// Offsets in the headers of Ethernet, ARP, IPv4, and of ICMP, TCP and UDP.
const (
	etherSource      = 6
	arpSenderEther   = 8
	arpSenderAddress = 14
	ipSource         = 12
	ipDestination    = 16
	icmpType         = 0
	destinationPort  = 2
)

func etherFrom(mac net.HardwareAddr) phrase {
	return payload(expr.PayloadBaseLLHeader, etherSource, mac)
}

func arpFrom(mac net.HardwareAddr, addr netip.Addr) phrase {
	return append(payload(expr.PayloadBaseNetworkHeader, arpSenderEther, mac),
		payload(expr.PayloadBaseNetworkHeader, arpSenderAddress, addr.AsSlice())...)
}

func from(addr netip.Addr) phrase {
	return payload(expr.PayloadBaseNetworkHeader, ipSource, addr.AsSlice())
}

func to(addr netip.Addr) phrase {
	return payload(expr.PayloadBaseNetworkHeader, ipDestination, addr.AsSlice())
}

// fromNetwork matches packets from a network of 8, 16 or 24 bits.
func fromNetwork(p netip.Prefix) phrase {
	return payload(expr.PayloadBaseNetworkHeader, ipSource, p.Addr().AsSlice()[:p.Bits()/8])
}

func toPort(port uint16) phrase {
	return payload(expr.PayloadBaseTransportHeader, destinationPort, binary.BigEndian.AppendUint16(nil, port))
}

func echoRequest() phrase { return payload(expr.PayloadBaseTransportHeader, icmpType, []byte{8}) }

// in matches packets of which the address at offset is in a set, notIn the others.
func in(offset uint32, set *nftables.Set) phrase    { return lookUp(offset, set, false) }
func notIn(offset uint32, set *nftables.Set) phrase { return lookUp(offset, set, true) }

func lookUp(offset uint32, set *nftables.Set, invert bool) phrase {
	return phrase{
		load(expr.PayloadBaseNetworkHeader, offset, net.IPv4len),
		&expr.Lookup{SourceRegister: register, SetName: set.Name, SetID: set.ID, Invert: invert},
	}
}

const underway = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED

// state matches packets of connections in one of the states.
func state(states uint32) phrase {
	return phrase{
		&expr.Ct{Register: register, Key: expr.CtKeySTATE},
		&expr.Bitwise{
			SourceRegister: register, DestRegister: register, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(states), Xor: make([]byte, 4),
		},
		compare(expr.CmpOpNeq, make([]byte, 4)),
	}
}

// marked matches packets of connections that [mark] has marked so.
func marked(value uint32) phrase {
	return phrase{
		&expr.Ct{Register: register, Key: expr.CtKeyMARK},
		compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(value)),
	}
}

func mark(value uint32) phrase {
	return phrase{
		&expr.Immediate{Register: register, Data: binaryutil.NativeEndian.PutUint32(value)},
		&expr.Ct{Register: register, Key: expr.CtKeyMARK, SourceRegister: true},
	}
}

func accept() phrase     { return phrase{&expr.Verdict{Kind: expr.VerdictAccept}} }
func drop() phrase       { return phrase{&expr.Verdict{Kind: expr.VerdictDrop}} }
func masquerade() phrase { return phrase{&expr.Masq{}} }

// prohibit says that it is prohibited to whoever sent the packet; reset ends its connection.
func prohibit() phrase {
	return phrase{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
}
func reset() phrase { return phrase{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }

// maxElements is how many elements go into one message, whose size is limited.
// It is even: an interval is two.
const maxElements = 1024

// fill has a set of intervals hold networks and nothing else.
func fill(c *nftables.Conn, set *nftables.Set, networks []netip.Prefix) error {
	c.FlushSet(set)
	for elements := range slices.Chunk(ranges(networks), maxElements) {
		if err := c.SetAddElements(set, elements); err != nil {
			return err
		}
	}
	return nil
}

// ranges returns the elements of a set of intervals: where each begins and
// where it has ended. The kernel takes none that overlap.
func ranges(networks []netip.Prefix) []nftables.SetElement {
	type span struct{ first, end uint64 }
	var spans []span
	for _, p := range networks {
		first := uint64(binary.BigEndian.Uint32(p.Addr().AsSlice()))
		spans = append(spans, span{first, first + 1<<(32-p.Bits())})
	}
	slices.SortFunc(spans, func(a, b span) int { return int(int64(a.first) - int64(b.first)) })
	var merged []span
	for _, s := range spans {
		if last := len(merged) - 1; last >= 0 && s.first <= merged[last].end {
			merged[last].end = max(merged[last].end, s.end)
		} else {
			merged = append(merged, s)
		}
	}
	var elements []nftables.SetElement
	for _, s := range merged {
		elements = append(elements, nftables.SetElement{Key: binary.BigEndian.AppendUint32(nil, uint32(s.first))})
		if s.end < 1<<32 { // else it ends with all addresses
			elements = append(elements, nftables.SetElement{Key: binary.BigEndian.AppendUint32(nil, uint32(s.end)), IntervalEnd: true})
		}
	}
	return elements
}
