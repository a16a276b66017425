package main

import (
	"cmp"
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/client"
)

func (m *Main) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "history VM",
		Short: "Show what happened to a VM, and why",
		Long: `Show what happened to a VM, and why, oldest first.

A VM that was deleted has a history too, by its whole id, as long as the host keeps it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeVM,
		RunE: m.inVM(func(ctx context.Context, c *client.Client, id string, _ []string) error {
			history, err := c.History(ctx, id, 0)
			if err != nil {
				return err
			}
			return m.print(history, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "TIME\tEVENT\tTOOK\tREASON")
				for _, e := range history.Events {
					took := time.Duration(e.TookMs * float64(time.Millisecond)).Round(time.Millisecond)
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.At.Local().Format(time.RFC3339), e.Event, took, cmp.Or(e.Reason, "-"))
				}
			})
		}),
	}
}
