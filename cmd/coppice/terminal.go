package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/client"
)

func (m *Main) terminalCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "terminal",
		Short: "List and close the terminals of a VM",
	}
	cmd.AddCommand(m.terminalListCommand(), m.terminalCloseCommand())
	return cmd
}

func (m *Main) terminalListCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "list VM",
		Aliases:           []string{"ls"},
		Short:             "List the terminals of a VM, oldest first",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeVM,
		RunE: m.inVM(func(ctx context.Context, c *client.Client, vm string, _ []string) error {
			list, err := c.Terminals(ctx, vm, "")
			if err != nil {
				return err
			}
			return m.print(list, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "SESSION\tUSER\tSTATE\tSIZE\tATTACHED\tCREATED\tCOMMAND")
				for _, s := range list.Sessions {
					state := "running"
					if s.ExitCode != nil {
						state = fmt.Sprintf("exited %d", *s.ExitCode)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%dx%d\t%d\t%s\t%.40s\n", s.SessionID, s.User, state, s.Cols, s.Rows, s.AttachedCount,
						time.UnixMilli(s.CreatedAtMs).Format(time.DateTime), s.Exec)
				}
			})
		}),
	}
}

func (m *Main) terminalCloseCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "close VM SESSION",
		Short:             "Hang a terminal up and wait until its program has ended",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: m.completeVM,
		RunE: m.inVM(func(ctx context.Context, c *client.Client, vm string, args []string) error {
			closed, err := c.CloseTerminal(ctx, vm, args[0], "")
			if err != nil {
				return err
			}
			return m.print(closed, func(w *tabwriter.Writer) { fmt.Fprintln(w, closed.SessionID) })
		}),
	}
}
