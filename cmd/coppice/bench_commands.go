package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// addForkBenches adds what measures fork and its relatives.
func (m *Main) addForkBenches(to *cobra.Command) {
	var refill, settle time.Duration
	for _, c := range []struct {
		name, short string
		runs        int
		usage       string
		measure     func() measurement
	}{
		{"fork", "Measure fork, and the pause of the parent, beside QEMU's own way", 10, "how often",
			func() measurement { return benchFork }},
		{"create", "Measure create where a VM has been restored ahead", 10, "how often",
			func() measurement { return benchCreate(refill) }},
		{"suspend", "Measure suspend and resume, beside QEMU's own way", 10, "how often",
			func() measurement { return benchSuspend }},
		{"net", "Measure HTTP to a VM, by the ingress and by a connection of its own, and how long it takes to wake for it", 50, "how often",
			func() measurement { return benchNet }},
		{"density", "Measure what each child of a VM takes of memory and disk", 16, "how many children",
			func() measurement { return benchDensity(settle) }},
	} {
		var runs int
		cmd := &cobra.Command{
			Use:   c.name,
			Short: c.short,
			Args:  cobra.NoArgs,
			RunE: m.then(func(ctx context.Context, _ []string) error {
				return m.bench(ctx, runs, c.measure())
			}),
		}
		cmd.Flags().IntVarP(&runs, "runs", "n", c.runs, c.usage)
		switch c.name {
		case "create":
			cmd.Flags().DurationVar(&refill, "refill", 10*time.Second, "time between creates, in which the daemon restores the next VM ahead")
		case "density":
			cmd.Flags().DurationVar(&settle, "settle", time.Minute, "time to leave the children alone before they are measured")
		}
		to.AddCommand(cmd)
	}
}
