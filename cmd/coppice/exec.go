package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
)

// What exec's status means when it is not the command's own.
const (
	statusTimeout     exitStatus = 124
	statusFailed      exitStatus = 125
	statusInterrupted exitStatus = 130
)

func (m *Main) execCommand() *cobra.Command {
	var (
		spec    coppice.ExecSpec
		noStdin bool
	)
	cmd := &cobra.Command{
		Use:   "exec [flags] VM [flags] [--] COMMAND [ARG...]",
		Short: "Run a command in a VM, with this one's stdin, stdout and stderr",
		Long: `Run a command in a VM, with this one's stdin, stdout and stderr.

A COMMAND alone is a script for the user's shell; with ARGs, it is run with
exactly these. Ctrl-C kills it, with all that it has started.

The exit status is the command's: 128+N if signal N ended it, 127 if there is no
such command, 126 if it cannot be run. Of coppice's own there are 124 if the
--timeout passed, 125 if the command could not be run or was lost, and 130 after
Ctrl-C.`,
		Example: `  coppice exec hello 'uname -a | tee /tmp/uname'
  tar c src | coppice exec hello -- tar x -C /srv
  coppice exec hello -u nobody --timeout 10s -- id`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: m.completeVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			// Flags end at the first word that is none: once at the VM, and
			// again at the command, whose flags are its own.
			vm := args[0]
			if err := cmd.Flags().Parse(args[1:]); err != nil {
				return err
			}
			command := cmd.Flags().Args()
			if len(command) == 0 {
				return errors.New("exec: which command?")
			}
			spec.Command = script(command)
			return m.then(func(ctx context.Context, _ []string) error {
				if noStdin {
					return m.exec(ctx, vm, spec, nil)
				}
				return m.exec(ctx, vm, spec, m.Stdin)
			})(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.StringVarP(&spec.User, "user", "u", "", "user to run as, by name or number (default root)")
	flags.StringVarP(&spec.Dir, "dir", "C", "", "directory to run in (default the user's home)")
	flags.StringArrayVarP(&spec.Env, "env", "e", nil, "set KEY=VALUE in its environment; may be repeated")
	flags.DurationVar(&spec.Timeout, "timeout", 0, "kill it after this time")
	flags.BoolVarP(&noStdin, "no-stdin", "n", false, "give it an empty stdin")
	return cmd
}

func (m *Main) exec(ctx context.Context, ref string, spec coppice.ExecSpec, stdin io.Reader) error {
	fail := func(err error) error {
		m.report(err)
		return statusFailed
	}
	for _, kv := range spec.Env {
		if !strings.Contains(kv, "=") {
			return fail(fmt.Errorf("--env %q: want KEY=VALUE", kv))
		}
	}
	c, err := m.client()
	if err != nil {
		return fail(err)
	}
	id, err := find(ctx, c, ref)
	if err != nil {
		return fail(err)
	}
	status, err := c.Exec(ctx, id, spec, coppice.Stdio{Stdin: stdin, Stdout: m.Stdout, Stderr: m.Stderr})
	switch {
	case errors.Is(err, context.Canceled):
		return statusInterrupted
	case err != nil:
		return fail(err)
	case status.TimedOut:
		m.report(fmt.Errorf("the command was killed: it did not end within %s", spec.Timeout))
		return statusTimeout
	case status.Code != 0:
		return exitStatus(status.Code)
	}
	return nil
}

// script returns what the guest's shell is to run: a single argument as it is,
// several as the words of one command.
func script(args []string) string {
	if len(args) == 1 {
		return args[0]
	}
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = quote(a)
	}
	return strings.Join(words, " ")
}

// quote makes s one word for a shell.
func quote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@%+,"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
