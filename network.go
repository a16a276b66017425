package coppice

import (
	"context"
	"net"
	"net/netip"
)

// A Network gives every VM a network of its own, with nothing in it but the
// VM's network card and the host's end of it. Inside, all are alike: a guest is
// GuestAddress, whoever it is, so that a copy of it needs no other. No VM can
// reach another, nor can anybody but this port reach a VM. What is set up
// outlives the daemon, but not the host's reboot.
type Network interface {
	// SetUp gives a VM its network if it has none, and has it allow what egress
	// says from now on: connections to what is not allowed any more end, others
	// go on. It costs nothing where everything is as asked. If it fails, the
	// VM can reach no more than it could before; again, it does what is left.
	SetUp(ctx context.Context, id VMID, egress Egress) error
	// TearDown takes a VM's network away, with every connection of Dial's; nil
	// if there is none. No run of the VM uses it any more.
	TearDown(ctx context.Context, id VMID) error
	// Networks lists the VMs that have a network, or a part of one.
	Networks(ctx context.Context) ([]VMID, error)
	// Dial connects to a TCP port of a VM's guest. The connection can be used
	// anywhere, and is half-closed like any of TCP's: it has CloseWrite.
	// [ErrNoNetwork] if the VM has none, [ErrRefused] if nothing listens there.
	// A guest that does not execute is waited for until ctx ends.
	Dial(ctx context.Context, id VMID, port uint16) (net.Conn, error)
	// Traffic returns what has gone through a VM's network card since its
	// network was set up. [ErrNoNetwork] if it has none.
	Traffic(ctx context.Context, id VMID) (Traffic, error)

	Inspector
	Eraser // of links that are in nobody's way
}

// The one network that every guest sees: itself, and the host's end of it, which
// answers as the router, and as a resolver of names.
var (
	GuestAddress = netip.MustParsePrefix("198.19.0.2/30")
	GuestRouter  = netip.MustParseAddr("198.19.0.1")
)

// GuestMAC is the hardware address of every guest's network card.
const GuestMAC = "52:54:00:c0:99:1c"

// Traffic counts bytes through a network card, headers included.
type Traffic struct {
	Sent     int64 // by the guest
	Received int64 // by the guest
}

// A Link is a VM's connection to the world.
type Link struct {
	// Egress is the policy in force.
	Egress Egress
	// Default is true if it is the host's default, because the VM has none of its own.
	Default bool
	// Traffic of the current run; zero if the VM does not run.
	Traffic Traffic
}
