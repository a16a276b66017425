//go:build failpoints

package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/internal/failpoint"
)

// testCommands are those that only a program for tests has.
func (m *Main) testCommands() []*cobra.Command { return []*cobra.Command{m.failpointsCommand()} }

func (m *Main) failpointsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "failpoints",
		Short: "List the points at which a daemon can be made to die or fail",
		Long: fmt.Sprintf(`failpoints lists the points at which a daemon can be made to die or fail, by the
variable %s: a list, separated by commas, of POINT=FAULT or POINT#N=FAULT for
the Nth time that it is passed. A fault is kill, hang or an errno like ENOSPC.
@FILE has the list read when that file appears, and N counted from then on.`, failpoint.Env),
		Args: cobra.NoArgs,
		RunE: m.then(func(context.Context, []string) error {
			points := failpoint.List()
			return m.print(points, func(w *tabwriter.Writer) {
				for _, name := range points {
					fmt.Fprintln(w, name)
				}
			})
		}),
	}
}
