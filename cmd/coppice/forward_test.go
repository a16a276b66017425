package main

import "testing"

func TestParseForwarding(t *testing.T) {
	for spec, want := range map[string]forwarding{
		"80":                {"127.0.0.1:80", 80},
		"8080:80":           {"127.0.0.1:8080", 80},
		"0:80":              {"127.0.0.1:0", 80},
		"0.0.0.0:8080:80":   {"0.0.0.0:8080", 80},
		"[::1]:8080:80":     {"[::1]:8080", 80},
		"localhost:1:65535": {"localhost:1", 65535},

		"": {}, "0": {}, "x": {}, "80:": {}, ":80": {}, "80:0": {}, "65536": {}, "65536:80": {}, "1:65536": {}, "::1:8080:80": {}, "-1:80": {}, "a:b:80": {},
	} {
		got, err := parseForwarding(spec)
		if got != want || (err == nil) != (want != forwarding{}) {
			t.Errorf("%q: %+v, %v; want %+v", spec, got, err, want)
		}
	}
}
