package main

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/ingress"
	"github.com/coppice-vm/coppice/sqlite"
)

// servers is how many servers a daemon may have: the API, the ingress by HTTP and
// by HTTPS, the SSH gateway.
const servers = 4

// serveIngress opens the ways to VMs by HTTP that there are to be, and returns
// where they are.
func (d *daemon) serveIngress(ctx context.Context, c config, db *sqlite.DB, directory *ingress.Directory) (where api.Ingress, err error) {
	config := ingress.Config{VMs: d.manager, Records: db, Network: d.manager.Network, Directory: directory, Log: d.log}
	if c.tls != off {
		ca, err := ingress.OpenCA(c.dir().CA())
		if err != nil {
			return where, err
		}
		config.TLS, where.CA = directory.Signed(ca), ca.PEM()
	}
	server := ingress.New(config)
	d.closers = append(d.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), finishTime)
		defer cancel()
		return server.Shutdown(ctx)
	})
	for _, way := range []struct {
		scheme, flag, address string
		serve                 func(net.Listener) error
		url                   *string
	}{
		{"http", "--ingress-listen", c.ingress, server.Serve, &where.URL},
		{"https", "--ingress-tls-listen", c.tls, server.ServeTLS, &where.HTTPSURL},
	} {
		if way.address == off {
			continue
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", way.address)
		if err != nil {
			return where, fmt.Errorf("%w (choose another address with %s, or off)", err, way.flag)
		}
		go func() { d.served <- way.serve(listener) }()
		*way.url = ingressURL(way.scheme, c.domain, listener.Addr().(*net.TCPAddr).Port)
		d.log.Info("serving VMs", "url", *way.url)
	}
	return where, nil
}

// ingressURL returns the URL of a port of a VM, with {port} and {vm} to be filled in.
func ingressURL(scheme, domain string, port int) string {
	url := scheme + "://{port}-{vm}." + domain
	if scheme == "http" && port != 80 || scheme == "https" && port != 443 {
		url += ":" + strconv.Itoa(port)
	}
	return url
}
