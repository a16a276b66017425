package sshgate

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxFailures is how many logins may fail from one address in a row, and
	// forgiveTime after how long one of them is forgotten.
	maxFailures = 10
	forgiveTime = 6 * time.Second
	// refusalTime is how long a refusal takes, whatever the reason.
	refusalTime = time.Second / 2
)

// failures remembers from where logins failed: for each address, until when
// all of its failures are forgotten.
type failures struct {
	mu    sync.Mutex
	until map[netip.Prefix]time.Time
}

// add notes a failure.
func (f *failures) add(from netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.until == nil {
		f.until = map[netip.Prefix]time.Time{}
	}
	if len(f.until)%1024 == 1023 { // so that the map does not grow for ever
		for at, until := range f.until {
			if until.Before(now) {
				delete(f.until, at)
			}
		}
	}
	until := f.until[from]
	if until.Before(now) {
		until = now
	}
	f.until[from] = until.Add(forgiveTime)
}

// tooMany reports whether there were so many that nobody may try from there now.
func (f *failures) tooMany(from netip.Prefix) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Until(f.until[from]) > (maxFailures-1)*forgiveTime
}

// origin is what failures are counted by: an IPv4 address, or the network that
// an IPv6 address is in, of which one customer has all addresses.
func origin(addr net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Prefix{} // no network that is known: all count as one
	}
	ip := at.Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	prefix, _ := ip.Prefix(bits)
	return prefix
}
