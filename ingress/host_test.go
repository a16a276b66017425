package ingress

import (
	"strings"
	"testing"
)

const someVM = "0123456789abcdefghij"

func TestParseName(t *testing.T) {
	for name, want := range map[string]Target{
		"3000-" + someVM + ".vm.localhost":  {someVM, 3000},
		"1-" + someVM + ".vm.localhost":     {someVM, 1},
		"65535-" + someVM + ".vm.localhost": {someVM, 65535},

		"":                                   {},
		"vm.localhost":                       {},
		"3000-" + someVM:                     {},
		someVM + ".vm.localhost":             {},
		"-" + someVM + ".vm.localhost":       {},
		"0-" + someVM + ".vm.localhost":      {},
		"03000-" + someVM + ".vm.localhost":  {},
		"+3000-" + someVM + ".vm.localhost":  {},
		"-1-" + someVM + ".vm.localhost":     {},
		"65536-" + someVM + ".vm.localhost":  {},
		"3000-" + someVM + "x.vm.localhost":  {},
		"3000-" + someVM + ".x.vm.localhost": {},
		"3000-" + someVM + ".vm.localhost.x": {},
		"3000-" + someVM + "xvm.localhost":   {},
		"x.3000-" + someVM + ".vm.localhost": {},
		"3000-hello.vm.localhost":            {},
	} {
		if got, ok := parseName(name, "vm.localhost"); got != want || ok != (want != Target{}) {
			t.Errorf("%q leads to %+v, %v; want %+v", name, got, ok, want)
		}
	}
}

func TestHostName(t *testing.T) {
	for host, want := range map[string]string{
		"A.Example.COM":      "a.example.com",
		"a.example.com.":     "a.example.com",
		"a.example.com:8080": "a.example.com",
		"a.example.com.:80":  "a.example.com",
		"[::1]:80":           "::1",
		"":                   "",
		"a:b:c":              "a:b:c",
	} {
		if got := hostName(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

// Whatever a client says it wants, what it gets has that name and no other.
func FuzzParseName(f *testing.F) {
	f.Add("3000-" + someVM + ".vm.localhost:4780")
	f.Add("65536-" + someVM + ".vm.localhost.")
	f.Add("[::1]:80")
	f.Fuzz(func(t *testing.T, host string) {
		name := hostName(host)
		got, ok := parseName(name, "vm.localhost")
		if !ok {
			if got != (Target{}) {
				t.Errorf("%q leads nowhere, and to %+v", host, got)
			}
			return
		}
		if got.Port == 0 || !got.VM.Valid() || got.Name("vm.localhost") != name || !strings.HasPrefix(strings.ToLower(host), name) {
			t.Errorf("%q leads to %+v", host, got)
		}
		if u, err := parseUpstream(upstream{got.VM, someVM, got.Port}.String()); err != nil || u != (upstream{got.VM, someVM, got.Port}) {
			t.Errorf("%+v as an upstream: %+v, %v", got, u, err)
		}
	})
}
