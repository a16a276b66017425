package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/progress"
)

// helloName is the name of the VM that up makes.
const helloName = "hello"

func (m *Main) upCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Set this machine up, start the daemon, and run a command in a first VM",
		Long: `Set this machine up, start the daemon, and run a command in a first VM.

What is there already stays: a second up takes seconds. A daemon of another build
or configuration is replaced, and where systemd does not run it, one that was started
with other OTEL_ variables; VMs that run go on meanwhile.`,
		Args: cobra.NoArgs,
		RunE: m.then(func(ctx context.Context, _ []string) error { return m.up(ctx) }),
	}
	m.config.bind(cmd.Flags(), m.Getenv)
	return cmd
}

func (m *Main) up(ctx context.Context) error {
	steps := progress.New(m.Stderr)
	image, err := m.prepare(ctx, steps)
	if err != nil {
		return err
	}
	var (
		c    *client.Client
		vm   string
		said string
	)
	for _, step := range []struct {
		name string
		run  func(*progress.Step) error
	}{
		{"daemon", func(step *progress.Step) error { return m.startDaemon(ctx, image, step) }},
		{"VM " + helloName, func(step *progress.Step) (err error) {
			if c, err = m.client(); err == nil {
				vm, err = hello(ctx, c, step)
			}
			return err
		}},
		{"echo running", func(step *progress.Step) error {
			result, err := c.ExecAwait(ctx, vm, coppice.ExecSpec{Command: "echo running"})
			if err == nil && result.StatusCode != 0 {
				err = fmt.Errorf("it ended with status %d: %s", result.StatusCode, result.Stderr)
			}
			said = strings.TrimSpace(result.Stdout)
			step.Result("%s", said)
			return err
		}},
	} {
		if err := steps.Do(step.name, step.run); err != nil {
			return err
		}
	}
	return m.welcome(vm, said)
}

// hello returns the id of the VM that up makes, which runs.
func hello(ctx context.Context, c *client.Client, step *progress.Step) (string, error) {
	list, err := c.VMs(ctx, client.Query{})
	if err != nil {
		return "", err
	}
	for _, vm := range list.VMs {
		if vm.Name != helloName {
			continue
		}
		if vm.State == api.Lost {
			step.Note("it was lost: %s", vm.Reason)
			if _, err := c.Kill(ctx, vm.ID); err != nil {
				return "", err
			}
		}
		if vm.State != api.Running {
			step.Note("starting it")
			if _, err := c.Start(ctx, vm.ID, api.StartVM{}); err != nil {
				return "", err
			}
		}
		step.Result("%s runs", vm.ID)
		return vm.ID, nil
	}
	step.Note("booting it")
	vm, err := c.Create(ctx, api.CreateVM{VMSpec: api.VMSpec{Name: new(helloName)}})
	if err != nil {
		return "", err
	}
	step.Result("%s made", vm.ID)
	return vm.ID, nil
}

// welcome prints what up has set up, and what to do with it.
func (m *Main) welcome(vm, said string) error {
	c, err := m.credentials()
	if err != nil {
		return err
	}
	result := map[string]string{"vm": vm, "said": said, "apiUrl": c.URL, "apiKey": c.Key}
	return m.print(result, func(w *tabwriter.Writer) {
		program := programName()
		fmt.Fprintf(w, `
VM %s says: %s

  API address  %s (in a browser: the dashboard)
  API key      %s

Try:
  %[5]s exec %[1]s -- uname -a
  %[5]s create --name second
  eval "$(%[5]s env)"    # and the npm package freestyle talks to this machine
`, helloName, said, c.URL, c.Key, program)
	})
}

// programName is how somebody who is where we are may call this program.
func programName() string {
	exe, err := os.Executable()
	if err != nil {
		return "coppice"
	}
	wd, _ := os.Getwd()
	if rel, err := filepath.Rel(cmp.Or(wd, "/"), exe); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return exe
}
