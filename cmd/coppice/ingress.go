package main

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/coppice-vm/coppice/ingress"
	"github.com/coppice-vm/coppice/sqlite"
)

// servers is how many servers a daemon has: the API, the ingress, the SSH gateway.
const servers = 3

// serveIngress opens the way to VMs by HTTP, if there is to be one, and returns
// where a port of a VM is: see [http.Config].
func (d *daemon) serveIngress(ctx context.Context, c config, db *sqlite.DB, directory *ingress.Directory) (url string, err error) {
	if c.ingress == off {
		return "", nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.ingress)
	if err != nil {
		return "", fmt.Errorf("%w (choose another address with --ingress-listen, or off)", err)
	}
	server := ingress.New(ingress.Config{VMs: d.manager, Records: db, Directory: directory, Log: d.log})
	go func() { d.served <- server.Serve(listener) }()
	d.closers = append(d.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), finishTime)
		defer cancel()
		return server.Shutdown(ctx)
	})
	url = "http://{port}-{vm}." + c.domain
	if port := listener.Addr().(*net.TCPAddr).Port; port != 80 {
		url += ":" + strconv.Itoa(port)
	}
	d.log.Info("serving VMs by HTTP", "url", url)
	return url, nil
}
