package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

func (m *Main) resizeCommand() *cobra.Command {
	var (
		cpu             int
		memory, storage gigabytes
		discard         bool
		spec            api.ResizeVM
	)
	cmd := m.eachCommand("resize VM...", "Give VMs another size; those that run are shut down for it and boot again",
		func(ctx context.Context, c *client.Client, id string) (any, error) { return c.Resize(ctx, id, spec) })
	cmd.Long = `Give VMs another size, and return when they have it. What is not named stays as
it is. A VM that runs is shut down for it and boots again: its disk is kept, what
it had in memory is not. Its root file system then has the new size. A VM that is
stopped stays so. If it fails, the VM has the size it had.`
	cmd.PreRun = func(cmd *cobra.Command, _ []string) {
		if cmd.Flags().Changed("cpu") {
			spec.VCPUCount = &cpu
		}
		if memory != 0 {
			spec.MemSizeGb = (*float64)(&memory)
		}
		if storage != 0 {
			spec.RootfsSizeGb = (*float64)(&storage)
		}
		if discard {
			spec.DiscardMemory = &discard
		}
	}
	flags := cmd.Flags()
	flags.IntVar(&cpu, "cpu", 0, "virtual CPUs, a power of two")
	flags.Var(&memory, "memory", "memory, a power of two: 512M, 2G")
	flags.Var(&storage, "storage", "root disk, no smaller than it is: 40G")
	flags.BoolVar(&discard, "discard-memory", false, "let suspended VMs lose the memory they were to go on with; they are stopped then")
	return cmd
}
