package main

import (
	"cmp"
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

func (m *Main) keysCommand() *cobra.Command {
	var account string
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make, list and revoke API keys",
		Long: `Make, list and revoke the API keys of the account whose key is used, or with
--account of another, which takes a key that may manage accounts.

A KEY is named by its id, by a prefix of it, or by its name.`,
	}
	cmd.PersistentFlags().StringVar(&account, "account", "", "id or name of an account of this host")
	cmd.AddCommand(m.createKeyCommand(&account), m.listKeysCommand(&account), m.revokeKeyCommand(&account))
	return cmd
}

func (m *Main) createKeyCommand(account *string) *cobra.Command {
	var admin bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an API key and print it, the only time that it is shown",
		Args:  cobra.ExactArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			of, err := findAccount(ctx, c, *account)
			if err != nil {
				return err
			}
			key := api.CreateKey{Name: args[0], Admin: &admin}
			if of != "" {
				key.AccountID = &of
			}
			made, err := c.CreateKey(ctx, key)
			if err != nil {
				return err
			}
			return m.print(made, func(w *tabwriter.Writer) { fmt.Fprintln(w, made.Secret) })
		}),
	}
	cmd.Flags().BoolVar(&admin, "admin", false, "it may manage the accounts of the host, too")
	return cmd
}

func (m *Main) listKeysCommand(account *string) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List API keys, oldest first, and when each was used last, to the hour",
		Args:    cobra.NoArgs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			of, err := findAccount(ctx, c, *account)
			if err != nil {
				return err
			}
			list, err := c.Keys(ctx, of)
			if err != nil {
				return err
			}
			return m.print(list, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "ID\tNAME\tMAY\tAGE\tUSED")
				for _, k := range list.Keys {
					may, used := "use", "never"
					if k.Admin {
						may = "manage"
					}
					if k.LastUsedAt != nil {
						used = k.LastUsedAt.Local().Format("2006-01-02 15:00")
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, may, age(time.Since(k.CreatedAt)), used)
				}
			})
		}),
	}
}

func (m *Main) revokeKeyCommand(account *string) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke KEY",
		Aliases: []string{"rm", "delete"},
		Short:   "Revoke an API key, and end what it let in",
		Args:    cobra.ExactArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			of, err := findAccount(ctx, c, *account)
			if err != nil {
				return err
			}
			list, err := c.Keys(ctx, of)
			if err != nil {
				return err
			}
			id, err := pick(list.Keys, args[0], coppice.CodeNotFound, "key", func(k api.Key) label { return label{k.ID, k.Name} })
			if err == nil {
				err = c.RevokeKey(ctx, of, id)
			}
			return m.printID(id, err)
		}),
	}
}

func (m *Main) accountCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "account",
		Short: "Make, list and delete the accounts of a host",
		Long: `Make, list and delete the accounts of a host, by a key that may manage them: the
one in the data directory, or one that was made by such a key with
coppice keys create --admin.

An ACCOUNT is named by its id, by a prefix of it, or by its name.`,
	}
	cmd.AddCommand(m.createAccountCommand(), m.listAccountsCommand(), m.deleteAccountCommand())
	return cmd
}

func (m *Main) createAccountCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "create NAME",
		Short: "Make an account and print its first API key, the only time that it is shown",
		Args:  cobra.ExactArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			made, err := c.CreateAccount(ctx, args[0])
			if err != nil {
				return err
			}
			return m.print(made, func(w *tabwriter.Writer) { fmt.Fprintln(w, made.Secret) })
		}),
	}
}

func (m *Main) listAccountsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List accounts, oldest first",
		Args:    cobra.NoArgs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			list, err := c.Accounts(ctx)
			if err != nil {
				return err
			}
			return m.print(list, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "ID\tNAME\tAGE")
				for _, a := range list.Accounts {
					fmt.Fprintf(w, "%s\t%s\t%s\n", a.ID, cmp.Or(a.Name, "-"), age(time.Since(a.CreatedAt)))
				}
			})
		}),
	}
}

func (m *Main) deleteAccountCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete ACCOUNT",
		Aliases: []string{"rm"},
		Short:   "Delete an account that has neither VMs nor snapshots, with its keys and identities",
		Args:    cobra.ExactArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			id, err := findAccount(ctx, c, args[0])
			if err == nil {
				err = c.DeleteAccount(ctx, id)
			}
			return m.printID(id, err)
		}),
	}
}

// findAccount returns the id of the account that ref names; empty if ref is.
func findAccount(ctx context.Context, c *client.Client, ref string) (string, error) {
	if ref == "" {
		return "", nil
	}
	list, err := c.Accounts(ctx)
	if err != nil {
		return "", err
	}
	return pick(list.Accounts, ref, coppice.CodeNotFound, "account", func(a api.Account) label { return label{a.ID, a.Name} })
}
