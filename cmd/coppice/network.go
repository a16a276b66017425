package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/hostnet"
)

// hostResolvers stands for the resolvers that the host itself uses.
const hostResolvers = "host"

// network returns the VMs' network as configured, and what a VM may reach that
// says nothing of it.
func (c *config) network(log *slog.Logger) (*hostnet.Network, coppice.Egress, error) {
	policy, err := coppice.ParseEgress(c.egress)
	if err != nil {
		return nil, "", err
	}
	ask, err := parseResolvers(c.resolvers)
	if err != nil {
		return nil, "", err
	}
	return hostnet.New(hostnet.Config{Dir: c.dir().Networks(), Resolvers: ask, Log: log}), policy, nil
}

// parseResolvers returns the addresses of resolvers; none stands for the host's own.
func parseResolvers(v string) ([]netip.AddrPort, error) {
	if v == hostResolvers {
		return nil, nil
	}
	const dnsPort = 53
	var all []netip.AddrPort
	for _, entry := range strings.Split(v, ",") {
		entry = strings.TrimSpace(entry)
		at, err := netip.ParseAddrPort(entry)
		if addr, addrErr := netip.ParseAddr(entry); addrErr == nil {
			at, err = netip.AddrPortFrom(addr, dnsPort), nil
		}
		if err != nil {
			return nil, fmt.Errorf("want %s, or addresses as in 1.1.1.1,9.9.9.9:53", hostResolvers)
		}
		all = append(all, at)
	}
	return all, nil
}

func egress(v string) error {
	_, err := coppice.ParseEgress(v)
	return err
}

func resolvers(v string) error {
	_, err := parseResolvers(v)
	return err
}
