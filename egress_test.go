package coppice_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
)

func TestParseEgress(t *testing.T) {
	for text, want := range map[string]coppice.Egress{
		"closed":                               "closed",
		"Closed ":                              "closed",
		"open":                                 "open",
		"open,open":                            "open",
		"10.1.0.0/16, open":                    "10.1.0.0/16,open",
		"open 169.254.169.254":                 "169.254.169.254/32,open",
		"Example.COM.,*.example.com\n10.0.0.1": "*.example.com,10.0.0.1/32,example.com",
		"0.0.0.0/0":                            "0.0.0.0/0",
		"registry":                             "registry",
		"_acme.example.com":                    "_acme.example.com",
	} {
		if got, err := coppice.ParseEgress(text); err != nil || got != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	for text, says := range map[string]string{
		"":                               "10.1.0.0/16,*.example.com",
		" , ":                            "10.1.0.0/16,*.example.com",
		"closed,10.0.0.0/8":              "stands alone",
		"10.1.2.3/16":                    "want 10.1.0.0/16",
		"10.0.0.256":                     "is no network",
		"10.0.0.0/33":                    "is no network",
		"10.0.0":                         "is no network",
		"2001:db8::/32":                  "no IPv6",
		"::1":                            "no IPv6",
		"::ffff:10.0.0.1":                "no IPv6",
		"127.0.0.1":                      "cannot be reached",
		"224.0.0.0/4":                    "cannot be reached",
		"0.0.0.0/8":                      "cannot be reached",
		"*":                              "neither",
		"*.":                             "neither",
		"*.*.example.com":                "neither",
		"www.*.com":                      "neither",
		"-a.example":                     "neither",
		"exämple.com":                    "neither",
		"http://example.com":             "is no network",
		"example.123":                    "neither",
		"a..b":                           "neither",
		strings.Repeat("a", 64):          "neither",
		strings.Repeat("a.", 127) + "ab": "neither",
		strings.Repeat("a,", 257):        "at most 256",
	} {
		if got, err := coppice.ParseEgress(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is %q, %v; want an error that says %q", text, got, err, says)
		}
	}
}

func TestEgressPermits(t *testing.T) {
	const open, closed = coppice.EgressOpen, coppice.EgressClosed
	for _, test := range []struct {
		egress coppice.Egress
		addr   string
		want   bool
	}{
		{open, "8.8.8.8", true},
		{open, "10.0.0.1", false},
		{open, "100.127.255.255", false},
		{open, "100.128.0.0", true},
		{open, "127.0.0.1", false},
		{open, "169.254.169.254", false},
		{open, "172.31.255.255", false},
		{open, "172.32.0.0", true},
		{open, "192.168.1.1", false},
		{open, "198.19.0.1", false},
		{open, "255.255.255.255", false},
		{open, "2606:4700::1111", false},
		{open, "::ffff:8.8.8.8", false},
		{"169.254.169.254/32,open", "169.254.169.254", true},
		{"169.254.169.254/32,open", "169.254.169.253", false},
		{"10.0.0.0/8", "10.1.2.3", true},
		{"10.0.0.0/8", "8.8.8.8", false},
		{"example.com", "8.8.8.8", false},
		{closed, "8.8.8.8", false},
		{"", "8.8.8.8", false},
	} {
		if got := test.egress.Permits(netip.MustParseAddr(test.addr)); got != test.want {
			t.Errorf("%q permits %s: %v, want %v", test.egress, test.addr, got, test.want)
		}
	}
}

func TestEgressNames(t *testing.T) {
	const list = coppice.Egress("*.wild.example,10.0.0.0/8,example.com")
	for name, want := range map[string]string{
		"example.com":      "example.com",
		"EXAMPLE.com.":     "example.com",
		"www.example.com":  "",
		"a.wild.example":   "*.wild.example",
		"b.a.Wild.example": "*.wild.example",
		"wild.example":     "",
		".wild.example":    "",
		"tamewild.example": "",
		"":                 "",
	} {
		if got := list.Names(name); got != want {
			t.Errorf("%q is allowed by %q, want %q", name, got, want)
		}
	}
	for egress, want := range map[coppice.Egress]bool{
		coppice.EgressOpen: true, "10.0.0.0/8,open": true, coppice.EgressClosed: false, "10.0.0.0/8": false, "": false,
	} {
		if got := egress.Resolves("open"); got != want {
			t.Errorf("%q lets any name be resolved: %v, want %v", egress, got, want)
		}
	}
}

func FuzzParseEgress(f *testing.F) {
	for _, text := range []string{"open", "closed", "10.0.0.0/8,*.example.com", "a b\tc,1.2.3.4", "::/0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		egress, err := coppice.ParseEgress(text)
		if err != nil {
			return
		}
		if again, err := coppice.ParseEgress(string(egress)); err != nil || again != egress {
			t.Errorf("%q is %q, and that is %q, %v", text, egress, again, err)
		}
		for _, addr := range []string{"127.0.0.1", "::1", "2606:4700::1111"} {
			if a := netip.MustParseAddr(addr); egress != "0.0.0.0/0" && !strings.Contains(string(egress), "/") && egress.Permits(a) {
				t.Errorf("%q permits %s", egress, addr)
			}
		}
	})
}
