package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

func (m *Main) createCommand() *cobra.Command {
	var spec vmFlags
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a VM and print its id when it runs",
		Args:  cobra.NoArgs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			wanted := spec.spec()
			if wanted.SnapshotID != nil {
				id, err := findSnapshot(ctx, c, *wanted.SnapshotID)
				if err != nil {
					return err
				}
				wanted.SnapshotID = &id
			}
			vm, err := c.Create(ctx, api.CreateVM{VMSpec: wanted})
			if err != nil {
				return err
			}
			return m.print(vm, func(w *tabwriter.Writer) { fmt.Fprintln(w, vm.ID) })
		}),
	}
	spec.bind(cmd.Flags())
	return cmd
}

func (m *Main) listCommand() *cobra.Command {
	var all, quiet bool
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List VMs, oldest first",
		Args:    cobra.NoArgs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			list, err := c.VMs(ctx, client.Query{Deleted: all})
			if err != nil {
				return err
			}
			return m.print(list, func(w *tabwriter.Writer) {
				if !quiet {
					fmt.Fprintln(w, "ID\tNAME\tSTATE\tCPU\tMEMORY\tDISK\tAGE")
				}
				for _, vm := range list.VMs {
					if quiet {
						fmt.Fprintln(w, vm.ID)
						continue
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", vm.ID, cmp.Or(vm.Name, "-"), state(vm),
						vm.Sizing.VCPUCount, mib(vm.Sizing.MemSizeMiB), mib(vm.Sizing.RootfsSizeMB), age(time.Since(vm.CreatedAt)))
				}
			})
		}),
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "deleted VMs too")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "ids only")
	return cmd
}

func (m *Main) getCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "get VM",
		Short:             "Show what is known about a VM",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeVM,
		RunE: m.inVM(func(ctx context.Context, c *client.Client, id string, _ []string) error {
			vm, err := c.VM(ctx, id)
			if err != nil {
				return err
			}
			network, err := c.Network(ctx, id)
			if err != nil && coppice.CodeOf(err) != coppice.CodeVMDeleted {
				return err
			}
			return m.print(struct {
				api.VM
				Network api.Network `json:"network"`
			}{vm, network}, func(w *tabwriter.Writer) { describe(w, vm, network) })
		}),
	}
}

// describe writes a VM, a line for each thing that is known.
func describe(w *tabwriter.Writer, vm api.VM, network api.Network) {
	line := func(name, format string, args ...any) {
		if v := fmt.Sprintf(format, args...); v != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, v)
		}
	}
	line("id", "%s", vm.ID)
	line("name", "%s", vm.Name)
	line("state", "%s", state(vm))
	line("reason", "%s", vm.Reason)
	line("cpu", "%d", vm.Sizing.VCPUCount)
	line("memory", "%s", mib(vm.Sizing.MemSizeMiB))
	line("disk", "%s", mib(vm.Sizing.RootfsSizeMB))
	if vm.Persistence != nil {
		line("persistence", "%s", vm.Persistence.Type)
	}
	if vm.IdleTimeoutSeconds == nil {
		line("idle timeout", "never")
	} else {
		line("idle timeout", "%s", short(time.Duration(*vm.IdleTimeoutSeconds*float64(time.Second))))
	}
	if vm.ReclaimAt != nil {
		line("reclaimed", "in %s, unless it is active", short(max(0, time.Until(*vm.ReclaimAt)).Round(time.Second)))
	}
	if network.Egress != "" {
		line("egress", "%s", policy(network))
		line("traffic", "%s sent, %s received", byteCount(network.SentBytes), byteCount(network.ReceivedBytes))
	}
	line("ingress", "%s", visitors(vm))
	line("from", "%s", vm.SnapshotID)
	line("instance", "%s", vm.VMInstanceID)
	line("created", "%s", vm.CreatedAt.Local().Format(time.RFC3339))
}

func (m *Main) startCommand() *cobra.Command {
	var idle idleTimeout
	cmd := m.eachCommand("start VM...", "Boot VMs, or go on with suspended ones, and return when they run",
		func(ctx context.Context, c *client.Client, id string) (any, error) {
			return c.Start(ctx, id, api.StartVM{IdleTimeoutSeconds: idle.value})
		})
	cmd.Flags().Var(&idle, "idle-timeout", "from now on, time without activity after which the VM is reclaimed: 10m, never")
	return cmd
}

func (m *Main) stopCommand() *cobra.Command {
	return m.eachCommand("stop VM...", "Shut VMs down; their disks are kept",
		func(ctx context.Context, c *client.Client, id string) (any, error) { return c.Stop(ctx, id) })
}

func (m *Main) killCommand() *cobra.Command {
	return m.eachCommand("kill VM...", "End VMs at once, without asking them; their disks are kept",
		func(ctx context.Context, c *client.Client, id string) (any, error) { return c.Kill(ctx, id) })
}

func (m *Main) removeCommand() *cobra.Command {
	cmd := m.eachCommand("rm VM...", "Delete VMs and their disks for good",
		func(ctx context.Context, c *client.Client, id string) (any, error) { return c.Delete(ctx, id) })
	cmd.Aliases = []string{"delete"}
	return cmd
}

// eachCommand is a command that does one thing to some VMs, a few at a time,
// and prints the id of each when it is done. One that fails stops no other.
func (m *Main) eachCommand(use, short string, do func(ctx context.Context, c *client.Client, id string) (any, error)) *cobra.Command {
	const atOnce = 4
	return &cobra.Command{
		Use:               use,
		Short:             short,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: m.completeVMs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, refs []string) error {
			var (
				mu      sync.Mutex
				answers []any
				failed  []error
				group   errgroup.Group
			)
			group.SetLimit(atOnce)
			for _, ref := range refs {
				group.Go(func() error {
					id, err := find(ctx, c, ref)
					var answer any
					if err == nil {
						answer, err = do(ctx, c, id)
					}
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err != nil && len(refs) > 1:
						failed = append(failed, fmt.Errorf("%s: %w", ref, err))
					case err != nil:
						failed = append(failed, err)
					case m.json:
						answers = append(answers, answer)
					default:
						fmt.Fprintln(m.Stdout, id)
					}
					return nil
				})
			}
			group.Wait()
			if m.json {
				failed = append(failed, m.print(answers, nil))
			}
			return errors.Join(failed...)
		}),
	}
}

func (m *Main) logsCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "logs VM",
		Short:             "Print what a VM's serial console has printed, the last part of it",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeVM,
		RunE: m.inVM(func(ctx context.Context, c *client.Client, id string, _ []string) error {
			log, err := c.Console(ctx, id)
			if err != nil {
				return err
			}
			if m.json {
				return m.print(map[string]string{"console": string(log)}, nil)
			}
			_, err = m.Stdout.Write(log)
			return err
		}),
	}
}
