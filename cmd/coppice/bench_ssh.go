package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice/api"
)

func benchSSH(ctx context.Context, b *bench, rounds int) error {
	gate, err := b.client.SSHGateway(ctx)
	if err != nil {
		return err
	}
	if gate.Host == "" {
		api, err := url.Parse(b.creds.URL)
		if err != nil {
			return err
		}
		gate.Host = api.Hostname()
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(gate.HostKey))
	if err != nil {
		return err
	}
	id, err := b.create(ctx, api.VMSpec{})
	if err != nil {
		return err
	}
	config := &ssh.ClientConfig{User: id, Auth: []ssh.AuthMethod{ssh.Password(b.creds.Key)}, HostKeyCallback: ssh.FixedHostKey(key)}
	addr := net.JoinHostPort(gate.Host, strconv.Itoa(gate.Port))
	return b.repeat(ctx, rounds, "ssh", func() error { return b.sshOnce(addr, config) })
}

// sshOnce logs in, runs a command, and has a shell come up to its prompt.
func (b *bench) sshOnce(addr string, config *ssh.ClientConfig) (err error) {
	start := time.Now()
	c, err := ssh.Dial("tcp", addr, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	b.add("ssh connect to login", start)
	shell, err := c.NewSession()
	if err != nil {
		return err
	}
	defer shell.Close()
	out, err := shell.StdoutPipe()
	if err == nil {
		err = shell.RequestPty("xterm", 24, 80, nil)
	}
	if err == nil {
		err = shell.Shell()
	}
	if err == nil {
		_, err = out.Read(make([]byte, 1))
	}
	if err != nil {
		return err
	}
	b.add("ssh connect to prompt", start)
	start = time.Now()
	command, err := c.NewSession()
	if err == nil {
		err = command.Run("true")
	}
	if err != nil {
		return err
	}
	b.add("ssh true, connected", start)
	return nil
}
