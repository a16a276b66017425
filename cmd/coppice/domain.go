package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

func (m *Main) domainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "domain",
		Short: "Have host names lead to ports of VMs by HTTP",
		Long: `Have host names lead to ports of VMs by HTTP.

A name is the account's that maps it first. Have it lead to this host in the DNS;
names below the host's own domain do already.`,
		Example: `  coppice domain map app.vm.localhost hello 3000
  coppice domain map www.example.com hello 80`,
	}
	cmd.AddCommand(m.domainMapCommand(), m.domainListCommand(), m.domainUnmapCommand())
	return cmd
}

func (m *Main) domainMapCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "map NAME VM PORT",
		Short: "Have a name lead to a port of a VM, from now on or instead",
		Args:  cobra.ExactArgs(3),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			port, err := parsePort(args[2])
			if err != nil {
				return err
			}
			id, err := find(ctx, c, args[1])
			if err != nil {
				return err
			}
			mapping, err := c.MapDomain(ctx, args[0], id, int(port))
			if err != nil {
				return err
			}
			return m.printMappings(mapping, mapping)
		}),
	}
}

func (m *Main) domainListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List what names lead where",
		Args:    cobra.NoArgs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Mappings(ctx)
			if err != nil {
				return err
			}
			return m.printMappings(all, all...)
		}),
	}
}

func (m *Main) domainUnmapCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "unmap NAME...",
		Aliases: []string{"rm"},
		Short:   "Have names lead nowhere",
		Args:    cobra.MinimumNArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			var errs []error
			for _, name := range args {
				_, err := c.UnmapDomain(ctx, name)
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		}),
	}
}

// printMappings prints mappings, of which v is the JSON.
func (m *Main) printMappings(v any, all ...api.Mapping) error {
	return m.print(v, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "NAME\tVM\tPORT\tAGE")
		for _, mapping := range all {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", mapping.Domain, mapping.VMID, mapping.VMPort, age(time.Since(mapping.CreatedAt)))
		}
	})
}
