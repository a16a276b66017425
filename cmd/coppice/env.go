package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func (m *Main) envCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "env",
		Short:   "Print the environment that points the SDK here",
		Example: `  eval "$(coppice env)"`,
		Args:    cobra.NoArgs,
		RunE: m.then(func(context.Context, []string) error {
			c, err := m.credentials()
			if err != nil {
				return err
			}
			return m.print(map[string]string{"FREESTYLE_API_URL": c.URL, "FREESTYLE_API_KEY": c.Key}, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "export FREESTYLE_API_URL=%s\nexport FREESTYLE_API_KEY=%s\n", quote(c.URL), quote(c.Key))
			})
		}),
	}
}
