package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/url"

	"github.com/coppice-vm/coppice/access"
	"github.com/coppice-vm/coppice/internal/host"
)

// ensureCredentials makes the data directory's credentials lead to the API at
// apiURL. A key that is known is kept; otherwise there is a new one, which may
// do everything.
func ensureCredentials(ctx context.Context, authority *access.Authority, dir host.Dir, apiURL string) error {
	old, err := dir.ReadCredentials()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	known := false
	if old.Key != "" {
		if known, err = authority.Knows(ctx, old.Key); err != nil {
			return err
		}
	}
	if known && old.URL == apiURL {
		return nil
	}
	creds := host.Credentials{URL: apiURL, Key: old.Key}
	if !known {
		if creds.Key, err = authority.HostKey(ctx); err != nil {
			return err
		}
	}
	return dir.WriteCredentials(creds)
}

// localURL is the URL by which this machine reaches a listener at addr.
func localURL(addr net.Addr) string {
	tcp := addr.(*net.TCPAddr)
	if tcp.IP.IsUnspecified() {
		tcp = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Port}
	}
	return (&url.URL{Scheme: "http", Host: tcp.String()}).String()
}
