package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/access"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/ingress"
	"github.com/coppice-vm/coppice/lifecycle"
	"github.com/coppice-vm/coppice/sqlite"
)

// servers is how many servers a daemon may have: the API, the ingress by HTTP and
// by HTTPS, the SSH gateway.
const servers = 4

// serveIngress opens the ways to VMs by HTTP that there are to be, and returns
// what serves them and where they are.
func (d *daemon) serveIngress(ctx context.Context, c config, db *sqlite.DB, directory *ingress.Directory, authority *access.Authority) (server *ingress.Server, where api.Ingress, err error) {
	sessions, err := ingress.OpenSessions(c.dir().Sessions())
	if err != nil {
		return nil, where, err
	}
	config := ingress.Config{
		VMs: d.manager, Records: db, Network: d.manager.Network, Directory: directory, Access: authority, Sessions: sessions, Log: d.log,
	}
	plain, err := listenIngress(ctx, "http", "--ingress-listen", c.ingress, c.domain, &where.URL)
	if err != nil {
		return nil, where, err
	}
	secure, err := listenIngress(ctx, "https", "--ingress-tls-listen", c.tls, c.domain, &where.HTTPSURL)
	if err != nil {
		return nil, where, errors.Join(err, closeAll(plain))
	}
	switch {
	case secure == nil:
	case c.acme != off:
		config.ACME = d.openACME(c, db, directory, plain, secure)
	default:
		ca, err := ingress.OpenCA(c.dir().CA())
		if err != nil {
			return nil, where, errors.Join(err, closeAll(plain, secure))
		}
		config.TLS, where.CA = directory.Signed(ca), ca.PEM()
	}
	server = ingress.New(config)
	d.closers = append(d.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), finishTime)
		defer cancel()
		return server.Shutdown(ctx)
	})
	if plain != nil {
		go func() { d.served <- server.Serve(plain) }()
	}
	if secure != nil {
		go func() { d.served <- server.ServeTLS(secure) }()
	}
	d.log.Info("serving VMs", "url", where.URL, "https", where.HTTPSURL)
	return server, where, nil
}

// visited are the host's VMs, whose visitors leave when one becomes private.
type visited struct {
	*lifecycle.Manager
	web *ingress.Server
}

func (v visited) SetPrivate(ctx context.Context, account coppice.AccountID, id coppice.VMID, private bool) (coppice.VM, error) {
	vm, err := v.Manager.SetPrivate(ctx, account, id, private)
	if err == nil && vm.Private {
		v.web.Expel(id)
	}
	return vm, err
}

// listenIngress listens at an address, and sets the URL of a port of a VM there.
// Where the address is off, the listener is nil.
func listenIngress(ctx context.Context, scheme, flag, address, domain string, url *string) (net.Listener, error) {
	if address == off {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w (choose another address with %s, or off)", err, flag)
	}
	*url = scheme + "://{port}-{vm}." + domain
	if port := portOf(l); scheme == "http" && port != 80 || scheme == "https" && port != 443 {
		*url += ":" + strconv.Itoa(port)
	}
	return l, nil
}

// openACME returns what gets the certificates, which asks for none yet.
func (d *daemon) openACME(c config, db *sqlite.DB, directory *ingress.Directory, plain, secure net.Listener) *ingress.ACME {
	config := ingress.ACMEConfig{
		URL: c.acme, Email: c.acmeEmail, Storage: c.dir().Certificates(), Directory: directory, Records: db, TLSPort: portOf(secure), Log: d.log,
	}
	if c.acme == "letsencrypt" {
		config.URL = letsEncrypt
	}
	if plain != nil {
		config.HTTPPort = portOf(plain)
	}
	acme := ingress.NewACME(config)
	d.closers = append(d.closers, func() error { acme.Close(); return nil })
	return acme
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// closeAll closes those listeners that there are.
func closeAll(all ...net.Listener) error {
	var errs []error
	for _, l := range all {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}
