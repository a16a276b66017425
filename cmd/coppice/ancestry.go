package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

func (m *Main) treeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "tree",
		Short: "Draw where VMs and snapshots come from, and what each takes of this machine",
		Long: `Draw where VMs and snapshots come from, and what each takes of this machine, in
MiB: what is its own, and would be free without it, and what it shares with
others. Memory is what a VM's process has; disk is everything stored, also the
memory of suspended VMs and of snapshots.`,
		Args: cobra.NoArgs,
		RunE: m.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			tree, err := c.Tree(ctx)
			if err != nil {
				return err
			}
			return m.print(tree, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "ID\tNAME\tSTATE\tMEMORY\tSHARED\tDISK\tSHARED")
				drawTree(w, tree.Nodes)
			})
		}),
	}
}

// drawTree writes every node below its parent, the oldest first.
func drawTree(w *tabwriter.Writer, nodes []api.TreeNode) {
	nodes = slices.SortedStableFunc(slices.Values(nodes), func(a, b api.TreeNode) int { return a.CreatedAt.Compare(b.CreatedAt) })
	below := map[string][]api.TreeNode{}
	for _, n := range nodes {
		below[n.ParentID] = append(below[n.ParentID], n)
	}
	var draw func(n api.TreeNode, first, rest string)
	draw = func(n api.TreeNode, first, rest string) {
		drawNode(w, n, first)
		for i, child := range below[n.ID] {
			if i == len(below[n.ID])-1 {
				draw(child, rest+"└─ ", rest+"   ")
			} else {
				draw(child, rest+"├─ ", rest+"│  ")
			}
		}
	}
	for _, n := range below[""] {
		draw(n, "", "")
	}
}

func drawNode(w *tabwriter.Writer, n api.TreeNode, indent string) {
	state := string(n.State)
	if n.Deleted {
		state = "deleted"
	}
	memory := "-\t-"
	if n.Memory != nil {
		memory = inMiB(*n.Memory)
	}
	fmt.Fprintf(w, "%s%s\t%s\t%s\t%s\t%s\n", indent, n.ID, cmp.Or(n.Name, "-"), state, memory, inMiB(n.Disk))
}

// inMiB writes a footprint as two columns.
func inMiB(f api.Footprint) string {
	const mib = 1 << 20
	return fmt.Sprintf("%.1f\t%.1f", float64(f.OwnBytes)/mib, float64(f.SharedBytes)/mib)
}
