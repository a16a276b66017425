package ingress

import (
	"net"
	"strconv"
	"strings"

	"github.com/coppice-vm/coppice"
)

// A Target is what a host name leads to: a port of a VM.
type Target struct {
	VM   coppice.VMID
	Port uint16
}

// Name is the host name below domain that leads to a port of a VM. Only ids are
// in names: a VM's own name can be another's too, and anybody can take it.
func (t Target) Name(domain string) string {
	return strconv.Itoa(int(t.Port)) + "-" + string(t.VM) + "." + domain
}

// parseName returns what a host name leads to that is of the form of [Target.Name].
func parseName(name, domain string) (Target, bool) {
	label, ok := strings.CutSuffix(name, "."+domain)
	if !ok {
		return Target{}, false
	}
	digits, id, _ := strings.Cut(label, "-")
	port, err := strconv.ParseUint(digits, 10, 16)
	t := Target{coppice.VMID(id), uint16(port)}
	// One name only for each: not 080, nor +80.
	if err != nil || port == 0 || !t.VM.Valid() || t.Name(domain) != name {
		return Target{}, false
	}
	return t, true
}

// hostName returns the name in a Host header, as names are compared: without
// a port, in lower case, without the dot of the root.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
