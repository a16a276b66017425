package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

func (m *Main) identityCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "identity",
		Short: "Let somebody use single VMs from the inside, and nothing else",
		Long: `Let somebody use single VMs from the inside, and nothing else.

An identity has access tokens. Whoever bears one may run commands, use files and
open terminals in the VMs that were granted to the identity, as the users of the
guest that were granted. A token goes wherever an API key goes:

  ID=$(coppice identity create)
  coppice identity grant $ID web --user deploy
  COPPICE_API_KEY=$(coppice identity token $ID) coppice exec -u deploy WEB-ID -- ./deploy

To a token a VM is named by its whole id. An ID of an identity may be a prefix of it.`,
	}
	cmd.AddCommand(
		m.createIdentityCommand(), m.listIdentitiesCommand(), m.deleteIdentityCommand(),
		m.createTokenCommand(), m.listTokensCommand(), m.revokeTokenCommand(),
		m.grantCommand(), m.listGrantsCommand(), m.revokeGrantCommand(),
	)
	return cmd
}

func (m *Main) createIdentityCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "create",
		Short: "Make an identity, which may do nothing yet, and print its id",
		Args:  cobra.NoArgs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			made, err := c.CreateIdentity(ctx)
			if err != nil {
				return err
			}
			return m.print(made, func(w *tabwriter.Writer) { fmt.Fprintln(w, made.ID) })
		}),
	}
}

func (m *Main) listIdentitiesCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List identities, oldest first",
		Args:    cobra.NoArgs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			list, err := c.Identities(ctx)
			if err != nil {
				return err
			}
			return m.print(list, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "ID")
				for _, i := range list.Identities {
					fmt.Fprintln(w, i.ID)
				}
			})
		}),
	}
}

func (m *Main) deleteIdentityCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete ID",
		Aliases: []string{"rm"},
		Short:   "Delete an identity with its tokens and grants, and end what they let in",
		Args:    cobra.ExactArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			id, err := findIdentity(ctx, c, args[0])
			if err == nil {
				err = c.DeleteIdentity(ctx, id)
			}
			return m.printID(id, err)
		}),
	}
}

// printID prints the id of what something was done to, if err is nil.
func (m *Main) printID(id string, err error) error {
	if err != nil {
		return err
	}
	return m.print(map[string]string{"id": id}, func(w *tabwriter.Writer) { fmt.Fprintln(w, id) })
}

func (m *Main) createTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "token ID",
		Short: "Make an access token and print it, the only time that it is shown",
		Args:  cobra.ExactArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			id, err := findIdentity(ctx, c, args[0])
			if err != nil {
				return err
			}
			made, err := c.CreateToken(ctx, id)
			if err != nil {
				return err
			}
			return m.print(made, func(w *tabwriter.Writer) { fmt.Fprintln(w, made.Secret) })
		}),
	}
}

func (m *Main) listTokensCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "tokens ID",
		Short: "List an identity's access tokens, oldest first",
		Args:  cobra.ExactArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			id, err := findIdentity(ctx, c, args[0])
			if err != nil {
				return err
			}
			list, err := c.Tokens(ctx, id)
			if err != nil {
				return err
			}
			return m.print(list, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "ID")
				for _, t := range list.Tokens {
					fmt.Fprintln(w, t.ID)
				}
			})
		}),
	}
}

func (m *Main) revokeTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke-token ID TOKEN-ID",
		Short: "Revoke an access token, by its id, and end what it let in",
		Args:  cobra.ExactArgs(2),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			id, err := findIdentity(ctx, c, args[0])
			if err == nil {
				err = c.RevokeToken(ctx, id, args[1])
			}
			return m.printID(args[1], err)
		}),
	}
}

func (m *Main) grantCommand() *cobra.Command {
	var users []string
	cmd := &cobra.Command{
		Use:   "grant ID VM",
		Short: "Let an identity use a VM, as some of its users or as any",
		Long: `Let an identity use a VM, as the users named by --user, or as any. If it has a
grant for the VM already, that is changed, and what it is doing there ends.`,
		Args: cobra.ExactArgs(2),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			id, vm, err := findIdentityAndVM(ctx, c, args)
			if err != nil {
				return err
			}
			grant, err := c.Grant(ctx, id, vm, users)
			if coppice.CodeOf(err) == coppice.CodePermissionExists {
				grant, err = c.ChangeGrant(ctx, id, vm, users)
			}
			if err != nil {
				return err
			}
			return m.print(grant, func(w *tabwriter.Writer) { fmt.Fprintf(w, "%s\t%s\n", grant.VMID, usersOf(&grant)) })
		}),
	}
	cmd.Flags().StringSliceVarP(&users, "user", "u", nil, "user of the VM whom the identity may act as; may be repeated (default any)")
	return cmd
}

func usersOf(g *api.VMGrant) string {
	if g.AllowedUsers == nil {
		return "any user"
	}
	return strings.Join(g.AllowedUsers, ",")
}

func (m *Main) listGrantsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "grants ID",
		Short: "List what VMs an identity may use",
		Args:  cobra.ExactArgs(1),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			id, err := findIdentity(ctx, c, args[0])
			if err != nil {
				return err
			}
			list, err := c.Grants(ctx, id)
			if err != nil {
				return err
			}
			return m.print(list, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "VM\tAS\tAGE")
				for i := range list.Permissions {
					g := &list.Permissions[i]
					fmt.Fprintf(w, "%s\t%s\t%s\n", g.VMID, usersOf(g), age(time.Since(g.GrantedAt)))
				}
			})
		}),
	}
}

func (m *Main) revokeGrantCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ungrant ID VM",
		Short: "Take a VM from an identity, and end what it is doing there",
		Args:  cobra.ExactArgs(2),
		RunE: m.calling(func(ctx context.Context, c *client.Client, args []string) error {
			id, vm, err := findIdentityAndVM(ctx, c, args)
			if err == nil {
				err = c.RevokeGrant(ctx, id, vm)
			}
			return m.printID(vm, err)
		}),
	}
}

// findIdentity returns the id of the identity that ref names.
func findIdentity(ctx context.Context, c *client.Client, ref string) (string, error) {
	list, err := c.Identities(ctx)
	if err != nil {
		return "", err
	}
	return pick(list.Identities, ref, coppice.CodeIdentityNotFound, "identity", func(i api.Identity) label { return label{id: i.ID} })
}

func findIdentityAndVM(ctx context.Context, c *client.Client, args []string) (identity, vm string, err error) {
	if identity, err = findIdentity(ctx, c, args[0]); err == nil {
		vm, err = find(ctx, c, args[1])
	}
	return identity, vm, err
}
