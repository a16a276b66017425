package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

func (m *Main) snapshotCommand() *cobra.Command {
	var (
		name        string
		persistence persistence
	)
	cmd := &cobra.Command{
		Use:   "snapshot VM",
		Short: "Keep what a VM is now as a snapshot, and print its id",
		Long: `Keep what a VM is now as a snapshot, and print its id. The VM goes on; the
snapshot outlives it. coppice create --from makes VMs that go on from there.

Where a command takes a SNAPSHOT, it is named as VMs are: by its id, by a prefix
of it, or by its name.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeVM,
		RunE: m.inVM(func(ctx context.Context, c *client.Client, id string, _ []string) error {
			taken, err := c.TakeSnapshot(ctx, id, api.TakeSnapshot{Name: &name, Persistence: persistence.value})
			if err != nil {
				return err
			}
			return m.print(taken, func(w *tabwriter.Writer) { fmt.Fprintln(w, taken.SnapshotID) })
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the snapshot; need not be unique")
	cmd.Flags().Var(&persistence, "persistence", "sticky, sticky:PRIORITY (0 to 10) or persistent")
	cmd.AddCommand(m.listSnapshotsCommand(), m.getSnapshotCommand(), m.renameSnapshotCommand(), m.removeSnapshotCommand())
	return cmd
}

func (m *Main) listSnapshotsCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List snapshots, oldest first",
		Args:    cobra.NoArgs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			list, err := c.Snapshots(ctx, all)
			if err != nil {
				return err
			}
			return m.print(list, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "ID\tNAME\tOF\tCPU\tMEMORY\tDISK\tAGE")
				for _, s := range list.Snapshots {
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", s.SnapshotID, cmp.Or(s.Name, "-"), s.SourceVMID,
						s.VCPUCount, mib(s.MemSizeMiB), mib(s.RootfsSizeMB), age(time.Since(s.CreatedAt)))
				}
			})
		}),
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "those too that are kept only for the VMs that need them")
	return cmd
}

func (m *Main) getSnapshotCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "get SNAPSHOT",
		Short: "Show what is known about a snapshot",
		Args:  cobra.ExactArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			id, err := findSnapshot(ctx, c, args[0])
			if err != nil {
				return err
			}
			s, err := c.Snapshot(ctx, id)
			if err != nil {
				return err
			}
			return m.print(s, func(w *tabwriter.Writer) {
				for _, line := range [][2]string{
					{"id", s.SnapshotID}, {"name", s.Name}, {"of", s.SourceVMID}, {"instance", s.SourceVMInstanceID},
					{"cpu", fmt.Sprint(s.VCPUCount)}, {"memory", mib(s.MemSizeMiB)}, {"disk", mib(s.RootfsSizeMB)},
					{"persistence", s.Persistence.Type}, {"created", s.CreatedAt.Local().Format(time.RFC3339)},
				} {
					if line[1] != "" {
						fmt.Fprintf(w, "%s\t%s\n", line[0], line[1])
					}
				}
			})
		}),
	}
}

func (m *Main) renameSnapshotCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rename SNAPSHOT NAME",
		Short: "Give a snapshot another name",
		Args:  cobra.ExactArgs(2),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			id, err := findSnapshot(ctx, c, args[0])
			if err != nil {
				return err
			}
			renamed, err := c.RenameSnapshot(ctx, id, args[1])
			if err != nil {
				return err
			}
			return m.print(renamed, func(w *tabwriter.Writer) { fmt.Fprintln(w, id) })
		}),
	}
}

func (m *Main) removeSnapshotCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rm SNAPSHOT...",
		Aliases: []string{"delete"},
		Short:   "Delete snapshots; VMs that came from them go on",
		Args:    cobra.MinimumNArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, refs []string) error {
			var answers []api.DeletedSnapshot
			var failed error
			for _, ref := range refs {
				id, err := findSnapshot(ctx, c, ref)
				var answer api.DeletedSnapshot
				if err == nil {
					answer, err = c.DeleteSnapshot(ctx, id)
				}
				if err != nil {
					failed = errors.Join(failed, fmt.Errorf("%s: %w", ref, err))
					continue
				}
				answers = append(answers, answer)
			}
			return errors.Join(m.print(answers, func(w *tabwriter.Writer) {
				for _, a := range answers {
					fmt.Fprintln(w, a.SnapshotID)
				}
			}), failed)
		}),
	}
}
