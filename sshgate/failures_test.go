package sshgate

import (
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestFailuresAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f failures
		here, there := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
		for i := range maxFailures {
			if f.tooMany(here) {
				t.Fatalf("too many after %d", i)
			}
			f.add(here)
		}
		if !f.tooMany(here) || f.tooMany(there) {
			t.Error("the wrong address has too many")
		}
		time.Sleep(forgiveTime)
		if f.tooMany(here) {
			t.Error("nothing was forgiven")
		}
		f.add(here)
		if !f.tooMany(here) {
			t.Error("more than one was forgiven")
		}
		time.Sleep(time.Hour)
		for range 10 * maxFailures {
			f.add(there)
		}
		time.Sleep(10*maxFailures*forgiveTime + time.Second)
		for i := range 2000 {
			f.add(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32))
		}
		if _, kept := f.until[there]; kept {
			t.Error("what is forgiven is kept for ever")
		}
	})
}

func TestOrigin(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7:22":          "192.0.2.7/32",
		"[::ffff:192.0.2.7]:22": "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1":      "fe80::/64",
	} {
		tcp := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		if got := origin(tcp).String(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	if got := origin(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("a socket: %s", got)
	}
}
