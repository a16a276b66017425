package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

func (m *Main) forkCommand() *cobra.Command {
	var (
		spec        api.ForkVM
		count       int
		name        string
		idle        idleTimeout
		persistence persistence
		stopped     bool
	)
	cmd := &cobra.Command{
		Use:   "fork VM",
		Short: "Make VMs that go on from where one is now, and print their ids",
		Long: `Make VMs that go on from where one is now, and print their ids when they can be
used. Memory, processes and disk are the VM's own, which runs on as if nothing
had happened. A suspended VM is forked as it was suspended; the forks of a
stopped one boot its disk.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeVM,
		RunE: m.inVM(func(ctx context.Context, c *client.Client, id string, _ []string) error {
			spec.Count, spec.IdleTimeoutSeconds, spec.Persistence = &count, idle.value, persistence.value
			if name != "" {
				spec.Name = &name
			}
			if stopped {
				spec.Start = new(false)
			}
			forked, err := c.Fork(ctx, id, spec)
			if err != nil {
				return err
			}
			failed := m.print(forked, func(w *tabwriter.Writer) {
				for _, f := range forked.Forks {
					fmt.Fprintln(w, f.ID)
				}
			})
			for _, e := range forked.Errors {
				failed = errors.Join(failed, coppice.Errorf(coppice.Code(e.Code), "%s", e.Message))
			}
			return failed
		}),
	}
	flags := cmd.Flags()
	flags.IntVarP(&count, "count", "n", 1, "how many, up to 100")
	flags.StringVar(&name, "name", "", "name of the forks; with more than one, -1, -2 and so on is appended")
	flags.Var(&idle, "idle-timeout", "time without activity after which a fork is reclaimed: 10m, never; the VM's own by default")
	flags.Var(&persistence, "persistence", "as for create; the VM's own by default")
	flags.BoolVar(&stopped, "stopped", false, "leave the forks of a stopped VM stopped")
	return cmd
}

func (m *Main) suspendCommand() *cobra.Command {
	return m.eachCommand("suspend VM...", "Keep what VMs are, memory too, and end their processes; start goes on",
		func(ctx context.Context, c *client.Client, id string) (any, error) { return c.Suspend(ctx, id) })
}
