package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

// defaultEgress stands for the host's own policy.
const defaultEgress = "default"

func (m *Main) egressCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "egress VM [POLICY]",
		Short: "Show what a VM may reach, or change it at once",
		Long: `Show what a VM may reach, or change it at once, connections included.

A policy is "open" (every public address), "closed", or a list of networks and
names that are allowed, which may have "open" among them:

  coppice egress web closed
  coppice egress web 10.1.0.0/16,api.example.com,*.debian.org
  coppice egress web default     # whatever the host's policy is`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: m.completeVM,
		RunE: m.inVM(func(ctx context.Context, c *client.Client, id string, args []string) error {
			if len(args) == 0 {
				network, err := c.Network(ctx, id)
				if err != nil {
					return err
				}
				return m.print(network, func(w *tabwriter.Writer) { fmt.Fprintln(w, policy(network)) })
			}
			var set api.SetNetwork
			if args[0] != defaultEgress {
				set.Egress = &args[0]
			}
			network, err := c.SetNetwork(ctx, id, set)
			if err != nil {
				return err
			}
			return m.print(network, func(w *tabwriter.Writer) { fmt.Fprintln(w, policy(network)) })
		}),
	}
}

// policy says what a VM may reach, and who says so.
func policy(n api.Network) string {
	if n.EgressDefault {
		return n.Egress + " (the host's default)"
	}
	return n.Egress
}

// byteCount says how many there are, for people.
func byteCount(n int64) string {
	const k = 1000
	switch {
	case n < 10*k:
		return fmt.Sprintf("%d B", n)
	case n < 10*k*k:
		return fmt.Sprintf("%d kB", n/k)
	}
	return fmt.Sprintf("%d MB", n/k/k)
}
