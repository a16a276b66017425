package main

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

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

// A port that takes no connections is tried again, at leisure, until the command ends.
func TestAcceptAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*acceptAgain-1)
		defer cancel()
		l := &fullListener{}
		m := &Main{Stderr: io.Discard}
		m.acceptAll(ctx, l, func(*net.TCPConn) { t.Error("a connection") })
		if l.tries != 10 {
			t.Errorf("it tried %d times in %v", l.tries, time.Duration(10*acceptAgain))
		}
	})
}

// A fullListener has no files left for a connection.
type fullListener struct {
	net.Listener
	tries int
}

func (l *fullListener) Accept() (net.Conn, error) {
	l.tries++
	return nil, errors.New("too many open files")
}
