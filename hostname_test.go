package coppice

import (
	"strings"
	"testing"
)

func TestValidHostName(t *testing.T) {
	long := strings.Repeat("a", 63)
	for name, want := range map[string]bool{
		"example.com":                           true,
		"a.b-c.0x":                              true,
		"xn--bcher-kva.example":                 true,
		long + ".example":                       true,
		"":                                      false,
		"localhost":                             false,
		"Example.com":                           false,
		"example.com.":                          false,
		".example.com":                          false,
		"a..b":                                  false,
		"-a.example":                            false,
		"a-.example":                            false,
		"a_b.example":                           false,
		"*.example.com":                         false,
		"bücher.example":                        false,
		"a b.example":                           false,
		"10.0.0.1":                              false,
		"example.com:80":                        false,
		long + "a.example":                      false,
		strings.Repeat(long+".", 4) + "example": false,
	} {
		if got := ValidHostName(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
