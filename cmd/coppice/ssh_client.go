package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

// askPassword is the variable by which ssh's question for a password, which this
// program is asked too, comes with its answer.
const askPassword = "COPPICE_SSH_PASSWORD"

// hostAlias is what ssh calls the gateway, in its list of known hosts and when
// it asks for the password.
const hostAlias = "coppice"

func (m *Main) sshCommand() *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:   "ssh [flags] VM [-- SSH-ARG...]",
		Short: "Log in to a VM by this machine's ssh, with nothing to set up",
		Long: `Log in to a VM by this machine's ssh, with nothing to set up: the host's key is
fetched from the API, and the API key is the password.

What follows -- are options of ssh's, and a command. The exit status is ssh's.`,
		Example: `  coppice ssh hello
  coppice ssh hello -u deploy -- uptime
  coppice ssh hello -- -A -L 8080:localhost:80`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: m.completeVM,
		RunE: m.then(func(ctx context.Context, args []string) error {
			return m.ssh(ctx, args[0], user, args[1:])
		}),
	}
	cmd.Flags().StringVarP(&user, "user", "u", "", "user of the guest to log in as (default root)")
	return cmd
}

func (m *Main) ssh(ctx context.Context, ref, user string, args []string) error {
	program, err := exec.LookPath("ssh")
	if err != nil {
		return errors.New("there is no ssh on this machine: install openssh-client, or use coppice shell")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	creds, err := m.credentials()
	if err != nil {
		return err
	}
	c, err := m.client()
	if err != nil {
		return err
	}
	id, err := find(ctx, c, ref)
	if err != nil {
		return err
	}
	gate, err := m.gateway(ctx, c, creds.URL)
	if err != nil {
		return err
	}
	if user != "" {
		id += "+" + user
	}
	var options []string
	for _, o := range append(gate.options(), "PreferredAuthentications password", "NumberOfPasswordPrompts 1") {
		options = append(options, "-o", o)
	}
	cmd := exec.Command(program, append(append(options, "-l", id, gate.host), args...)...) // Ctrl-C is ssh's own
	cmd.Stdin, cmd.Stdout, cmd.Stderr = m.Stdin, m.Stdout, m.Stderr
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+self, "SSH_ASKPASS_REQUIRE=force", askPassword+"="+creds.Key)
	err = cmd.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return exitStatus(ended.ExitCode())
	}
	return err
}

// answerSSH prints the password if this is ssh asking for it. What ssh asks on
// behalf of others, such as a host that it goes by, is not answered.
func (m *Main) answerSSH(args []string) bool {
	password := m.Getenv(askPassword)
	if password == "" || len(args) != 1 {
		return false
	}
	user, ok := strings.CutSuffix(args[0], "@"+hostAlias+"'s password: ")
	vm, _, _ := strings.Cut(user, "+")
	if !ok || !coppice.VMID(vm).Valid() {
		return false
	}
	fmt.Fprintln(m.Stdout, password)
	return true
}

// A gateway is how ssh gets to the SSH gateway.
type gateway struct {
	host, knownHosts string
	port             int
}

// options are ssh's, as in its configuration.
func (g gateway) options() []string {
	return []string{
		"Port " + strconv.Itoa(g.port),
		"HostKeyAlias " + hostAlias,
		`UserKnownHostsFile "` + g.knownHosts + `"`,
		"StrictHostKeyChecking yes",
		"UpdateHostKeys no",
	}
}

// gateway returns how to get to the gateway beside the API at apiURL. It leaves
// the key that the gateway has in a file for ssh.
func (m *Main) gateway(ctx context.Context, c *client.Client, apiURL string) (gateway, error) {
	said, err := c.SSHGateway(ctx)
	if err != nil {
		return gateway{}, err
	}
	at, err := url.Parse(apiURL)
	if err != nil {
		return gateway{}, err
	}
	g := gateway{host: cmp.Or(said.Host, at.Hostname()), port: said.Port}
	home := m.Getenv("HOME")
	dir := filepath.Join(cmp.Or(m.Getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config")), "coppice")
	if !filepath.IsAbs(dir) {
		return gateway{}, errors.New("there is no home directory to keep the gateway's key in: set HOME")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return gateway{}, err
	}
	g.knownHosts = filepath.Join(dir, fmt.Sprintf("known_hosts_%s_%d", strings.ReplaceAll(g.host, ":", "."), g.port))
	f, err := os.CreateTemp(dir, ".known_hosts")
	if err != nil {
		return gateway{}, err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = fmt.Fprintf(f, "%s %s\n", hostAlias, said.HostKey)
	if err := errors.Join(err, f.Close()); err != nil {
		return gateway{}, err
	}
	return g, os.Rename(f.Name(), g.knownHosts)
}

func (m *Main) sshConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ssh-config [VM...]",
		Short: "Print what ssh, and what uses it, needs to know of VMs",
		Long: `Print what ssh, and what uses it, needs to know of VMs: of all, if none is named.
It is for ~/.ssh/config, for scp, rsync, ProxyJump, VS Code's Remote-SSH and the
like. A VM is called coppice-NAME there. A registered key (coppice
ssh-keys) lets you in, or an API key as the password.`,
		Example:           `  coppice ssh-config >~/.ssh/coppice    # and in ~/.ssh/config: Include coppice`,
		ValidArgsFunction: m.completeVMs,
		RunE:              m.then(m.sshConfig),
	}
}

func (m *Main) sshConfig(ctx context.Context, refs []string) error {
	creds, err := m.credentials()
	if err != nil {
		return err
	}
	c, err := m.client()
	if err != nil {
		return err
	}
	gate, err := m.gateway(ctx, c, creds.URL)
	if err != nil {
		return err
	}
	list, err := c.VMs(ctx, client.Query{})
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, ref := range refs {
		id, err := find(ctx, c, ref)
		if err != nil {
			return err
		}
		wanted[id] = true
	}
	for _, vm := range list.VMs {
		if len(refs) == 0 || wanted[vm.ID] {
			fmt.Fprint(m.Stdout, sshStanza(vm, gate))
		}
	}
	return nil
}

// sshStanza is what ssh's configuration says of a VM.
func sshStanza(vm api.VM, gate gateway) string {
	alias := vm.Name
	if alias == "" || strings.ContainsFunc(alias, func(r rune) bool { return !strings.ContainsRune(plainName, r) }) {
		alias = vm.ID
	}
	lines := append([]string{"HostName " + gate.host, "User " + vm.ID}, gate.options()...)
	return "Host coppice-" + alias + "\n    " + strings.Join(lines, "\n    ") + "\n\n"
}

// plainName are the characters that mean nothing else in ssh's configuration.
const plainName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
