package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

func (m *Main) sshKeysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ssh-keys",
		Short: "Register public keys for SSH, list and remove them",
		Long: `Register public keys for SSH, list and remove them. Whoever has the private half
of one logs in to any VM of the account, as any user of it, with no password.

A KEY is named by its id, by a prefix of it, or by its name.`,
	}
	cmd.AddCommand(m.addSSHKeyCommand(), m.listSSHKeysCommand(), m.removeSSHKeyCommand())
	return cmd
}

func (m *Main) addSSHKeyCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "add FILE",
		Short:   "Register the public key in a file; - is the standard input",
		Example: `  coppice ssh-keys add ~/.ssh/id_ed25519.pub`,
		Args:    cobra.ExactArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			from := m.Stdin
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				from = f
			}
			line, err := io.ReadAll(io.LimitReader(from, 64<<10))
			if err != nil {
				return err
			}
			key, err := c.AddSSHKey(ctx, api.AddSSHKey{PublicKey: string(line), Name: name})
			if err != nil {
				return err
			}
			return m.print(key, func(w *tabwriter.Writer) { fmt.Fprintf(w, "%s\t%s\n", key.ID, key.Fingerprint) })
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "what it is called (default its comment)")
	return cmd
}

func (m *Main) listSSHKeysCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the public keys, oldest first",
		Args:    cobra.NoArgs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			list, err := c.SSHKeys(ctx)
			if err != nil {
				return err
			}
			return m.print(list, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "ID\tNAME\tAGE\tFINGERPRINT")
				for _, k := range list.Keys {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, k.Name, age(time.Since(k.CreatedAt)), k.Fingerprint)
				}
			})
		}),
	}
}

func (m *Main) removeSSHKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "remove KEY",
		Aliases: []string{"rm", "delete"},
		Short:   "Remove a public key, and end what it let in",
		Args:    cobra.ExactArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			list, err := c.SSHKeys(ctx)
			if err != nil {
				return err
			}
			id, err := pick(list.Keys, args[0], coppice.CodeNotFound, "SSH key", func(k api.SSHKey) label { return label{k.ID, k.Name} })
			if err != nil {
				return err
			}
			return c.RemoveSSHKey(ctx, id)
		}),
	}
}
