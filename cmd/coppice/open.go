package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

func (m *Main) openCommand() *cobra.Command {
	var printOnly bool
	cmd := &cobra.Command{
		Use:   "open VM PORT",
		Short: "Print where a port of a VM is on the web, and open it in a browser if there is one",
		Args:  cobra.ExactArgs(2),
		Example: `  coppice open hello 3000
  curl "$(coppice open -n hello 3000)"`,
		ValidArgsFunction: m.completeVM,
		RunE: m.inVM(func(ctx context.Context, c *client.Client, vm string, args []string) error {
			url, err := urlOf(ctx, c, vm, args[0])
			if err != nil {
				return err
			}
			if err := m.print(map[string]string{"url": url}, func(w *tabwriter.Writer) { fmt.Fprintln(w, url) }); err != nil {
				return err
			}
			if browser := m.browser(); browser != "" && !printOnly && !m.json {
				return exec.CommandContext(ctx, browser, url).Run()
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&printOnly, "no-browser", "n", false, "only print it")
	return cmd
}

// urlOf returns where a port of a VM is.
func urlOf(ctx context.Context, c *client.Client, vm, port string) (string, error) {
	number, err := parsePort(port)
	if err != nil {
		return "", err
	}
	where, err := c.Ingress(ctx)
	url := cmp.Or(where.URL, where.HTTPSURL)
	if where.HTTPSURL != "" && where.CA == "" { // and every browser trusts it
		url = where.HTTPSURL
	}
	return strings.NewReplacer("{port}", fmt.Sprint(number), "{vm}", vm).Replace(url), err
}

// browser is the program that shows web pages here; empty if there is none, or
// no screen for it.
func (m *Main) browser() string {
	if named := m.Getenv("BROWSER"); named != "" {
		return named
	}
	if cmp.Or(m.Getenv("DISPLAY"), m.Getenv("WAYLAND_DISPLAY")) == "" {
		return ""
	}
	path, _ := exec.LookPath("xdg-open")
	return path
}

func (m *Main) caCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ca",
		Short: "Print the certificate of the authority that signs this host's, for those who are to trust it",
		Example: `  coppice ca >/usr/local/share/ca-certificates/coppice.crt && update-ca-certificates
  curl --cacert <(coppice ca) https://...`,
		Args: cobra.NoArgs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			where, err := c.Ingress(ctx)
			if err != nil {
				return err
			}
			if where.CA == "" {
				return errors.New("this host has no authority of its own: there is no HTTPS, or by certificates that are trusted anyway")
			}
			return m.print(map[string]string{"ca": where.CA}, func(w *tabwriter.Writer) { fmt.Fprint(w, where.CA) })
		}),
	}
}

// The modes of what a VM serves on the web.
const (
	public  = "public"
	private = "private"
)

func (m *Main) ingressCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ingress VM [public|private]",
		Short: "Show who may visit what a VM serves on the web, or change it",
		Long: `Show who may visit what a VM serves on the web, or change it at once:
everybody who knows its name (public), or those only who show an API key of the
account, or the token of an identity that was granted the VM (private).`,
		Example: `  coppice ingress hello private
  eval "$(coppice env)"
  curl -f -H "Authorization: Bearer $FREESTYLE_API_KEY" "$(coppice open -n hello 3000)"
  coppice ingress hello public`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{public, private}, cobra.ShellCompDirectiveNoFileComp
			}
			return m.completeVM(cmd, args, toComplete)
		},
		RunE: m.inVM(func(ctx context.Context, c *client.Client, id string, args []string) (err error) {
			var vm api.VM
			switch {
			case len(args) == 0:
				vm, err = c.VM(ctx, id)
			case args[0] == public, args[0] == private:
				vm, err = c.SetIngress(ctx, id, api.SetIngress{Private: new(args[0] == private)})
			default:
				err = fmt.Errorf("%q: want public or private", args[0])
			}
			if err != nil {
				return err
			}
			return m.print(map[string]bool{"private": vm.Private}, func(w *tabwriter.Writer) { fmt.Fprintln(w, visitors(vm)) })
		}),
	}
}

// visitors says who may visit what a VM serves on the web.
func visitors(vm api.VM) string {
	if vm.Private {
		return private
	}
	return public
}
