package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice/access"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/sshgate"
)

// serveSSH opens the SSH gateway, if there is to be one, and returns what the
// API says of it.
func (d *daemon) serveSSH(ctx context.Context, c config, authority *access.Authority) (said api.SSHGateway, err error) {
	if c.sshListen == off || c.sshListen == "" {
		return said, nil
	}
	key, err := c.dir().EnsureHostKey()
	if err != nil {
		return said, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.sshListen)
	if err != nil {
		return said, fmt.Errorf("%w (choose another address with --ssh-listen, or off)", err)
	}
	gate := sshgate.New(sshgate.Config{VMs: d.manager, Access: authority, HostKey: key, Log: d.log})
	go func() { d.served <- gate.Serve(listener) }()
	d.closers = append(d.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), finishTime)
		defer cancel()
		return gate.Shutdown(ctx)
	})
	d.log.Info("serving SSH", "address", listener.Addr(), "host key", ssh.FingerprintSHA256(key.PublicKey()))
	return sshSaid(listener.Addr(), key.PublicKey()), nil
}

// sshSaid is what the API says of a gateway.
func sshSaid(addr net.Addr, key ssh.PublicKey) api.SSHGateway {
	at := addr.(*net.TCPAddr)
	said := api.SSHGateway{Port: at.Port, HostKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))}
	if !at.IP.IsUnspecified() {
		said.Host = at.IP.String()
	}
	return said
}

// findSSH says by what clients know the SSH gateway.
func (m *Main) findSSH() finding {
	f := finding{Name: "SSH"}
	key, err := m.config.dir().HostKey()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Text = "no host key: the gateway has not served yet"
	case err != nil:
		f.Broken, f.Text, f.Fix = true, err.Error(), "restore the file, or remove it: the gateway then has a new key, which clients will ask about"
	default:
		f.Text = fmt.Sprintf("host key %s (%s)", ssh.FingerprintSHA256(key.PublicKey()), m.config.dir().SSHHostKey())
	}
	return f
}
