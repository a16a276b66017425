package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
)

func (m *Main) benchSSHCommand() *cobra.Command {
	var runs int
	cmd := &cobra.Command{
		Use:   "ssh",
		Short: "Measure SSH: connect to login, to a shell's prompt, to a command's end",
		Args:  cobra.NoArgs,
		RunE: m.then(func(ctx context.Context, _ []string) error {
			return m.bench(ctx, runs, m.benchSSH)
		}),
	}
	cmd.Flags().IntVarP(&runs, "runs", "n", 20, "how often")
	return cmd
}

func (m *Main) benchSSH(ctx context.Context, b *bench, rounds int) error {
	creds, err := m.credentials()
	if err != nil {
		return err
	}
	gate, err := b.client.SSHGateway(ctx)
	if err != nil {
		return err
	}
	if gate.Host == "" {
		api, err := url.Parse(creds.URL)
		if err != nil {
			return err
		}
		gate.Host = api.Hostname()
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(gate.HostKey))
	if err != nil {
		return err
	}
	return b.withVM(ctx, func(id string) error {
		config := &ssh.ClientConfig{User: id, Auth: []ssh.AuthMethod{ssh.Password(creds.Key)}, HostKeyCallback: ssh.FixedHostKey(key)}
		for i := range 1 + rounds {
			b.step.Note("ssh, %s", ofRounds(i, rounds))
			b.warmingUp = i == 0
			if err := b.sshOnce(net.JoinHostPort(gate.Host, strconv.Itoa(gate.Port)), config); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
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
	b.add("ssh true, connected", start)
	return err
}
