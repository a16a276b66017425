package main

import (
	"context"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

const mcpInstructions = `coppice keeps virtual machines: real Debian, root by default. A VM is named by its name, its id, or the beginning of its id.
A fork is a copy of a running VM with memory, processes and disk, made in moments: fork before you try what may go wrong, or to try several things at once, and delete what you do not need.
A suspended VM wakes by itself when it is used; a stopped one is to be started. Deleting is for good.`

// newMCPServer returns a server whose tools do what the API's client can.
func newMCPServer(c *client.Client) *mcp.Server {
	t := toolbox{mcp.NewServer(&mcp.Implementation{Name: "coppice", Version: version()}, &mcp.ServerOptions{Instructions: mcpInstructions}), c}
	t.addLifecycle()
	t.addInside()
	return t.server
}

type toolbox struct {
	server *mcp.Server
	client *client.Client
}

// What a tool does to the world, as its client is told. One that destroys may lose
// something that was there. Where that is a VM or a snapshot, doing it again is not
// the same: what the first time went by that name is gone, and another may be found.
var (
	looks     = &mcp.ToolAnnotations{ReadOnlyHint: true}
	adds      = &mcp.ToolAnnotations{DestructiveHint: new(false)}
	continues = &mcp.ToolAnnotations{DestructiveHint: new(false), IdempotentHint: true}
	destroys  = &mcp.ToolAnnotations{DestructiveHint: new(true)}
	replaces  = &mcp.ToolAnnotations{DestructiveHint: new(true), IdempotentHint: true}
)

// tool adds a tool. What do returns is what the agent is told, as JSON, also
// where it is an error.
func tool[In any](t toolbox, does *mcp.ToolAnnotations, name, description string, do func(context.Context, In) (any, error)) {
	mcp.AddTool(t.server, &mcp.Tool{Name: name, Description: description, Annotations: does},
		func(ctx context.Context, _ *mcp.CallToolRequest, in In) (*mcp.CallToolResult, any, error) {
			out, err := do(ctx, in)
			if err != nil {
				err = errors.New(explain(err))
			}
			return nil, out, err
		})
}

// A named is the input of a tool that is about a VM.
type named struct {
	VM string `json:"vm" jsonschema:"its name, its id, or the beginning of its id"`
}

// vmTool adds a tool that needs to know the VM and no more.
func vmTool[Out any](t toolbox, does *mcp.ToolAnnotations, name, description string, do func(ctx context.Context, id string) (Out, error)) {
	tool(t, does, name, description, func(ctx context.Context, in named) (any, error) {
		id, err := find(ctx, t.client, in.VM)
		if err != nil {
			return nil, err
		}
		return do(ctx, id)
	})
}

// A shape is what a VM to be made is like, as far as somebody cares.
type shape struct {
	Name      *string  `json:"name,omitempty" jsonschema:"need not be unique"`
	Snapshot  string   `json:"snapshot,omitempty" jsonschema:"snapshot to start from, by name or id; the host's Debian image if absent"`
	CPUs      *int     `json:"cpus,omitempty" jsonschema:"a power of two"`
	MemoryGiB *float64 `json:"memory_gib,omitempty" jsonschema:"a power of two, or 0.5"`
	DiskGiB   *float64 `json:"disk_gib,omitempty"`
}

type resizing struct {
	named
	CPUs      *int     `json:"cpus,omitempty" jsonschema:"a power of two"`
	MemoryGiB *float64 `json:"memory_gib,omitempty" jsonschema:"a power of two, or 0.5"`
	DiskGiB   *float64 `json:"disk_gib,omitempty" jsonschema:"only more than it has"`
}

type forking struct {
	named
	Count *int    `json:"count,omitempty" jsonschema:"how many, 1 to 100; 1 if absent"`
	Name  *string `json:"name,omitempty" jsonschema:"of the forks; with more than one, -1, -2 and so on is appended"`
}

type snapshotting struct {
	named
	Name *string `json:"name,omitempty" jsonschema:"of the snapshot"`
}

func (t toolbox) addLifecycle() {
	c := t.client
	tool(t, looks, "list_vms", "List the VMs, oldest first.", func(ctx context.Context, _ struct{}) (any, error) {
		return c.VMs(ctx, client.Query{})
	})
	tool(t, looks, "list_snapshots", "List the snapshots, oldest first.", func(ctx context.Context, _ struct{}) (any, error) {
		return c.Snapshots(ctx, false)
	})
	vmTool(t, looks, "get_vm", "Say what is known about a VM: its state and why, its size, when it is suspended.", c.VM)
	vmTool(t, looks, "vm_history", "Say what happened to a VM, and why.", func(ctx context.Context, id string) (api.History, error) {
		return c.History(ctx, id, 0)
	})
	tool(t, adds, "create_vm", "Make a VM, and wait until it runs.", t.create)
	vmTool(t, continues, "start_vm", "Boot a stopped VM, or go on with a suspended one, and wait until it runs.", func(ctx context.Context, id string) (api.Started, error) {
		return c.Start(ctx, id, api.StartVM{})
	})
	vmTool(t, destroys, "stop_vm", "Shut a VM down. What is in memory and what runs is lost; the disk is kept. A VM that is ephemeral:OnStop is deleted.", c.Stop)
	vmTool(t, destroys, "kill_vm", "End a VM's run without asking the guest, like pulling the plug. What is in memory, what runs, and what was not yet written to the disk is lost; the disk is kept. A VM that is ephemeral:OnStop is deleted.", c.Kill)
	vmTool(t, destroys, "suspend_vm", "Keep a VM's memory, processes and disk, and end its process. It goes on when it is used. But a VM that is ephemeral, or ephemeral:OnSuspend, which is the same, is deleted.", c.Suspend)
	vmTool(t, destroys, "delete_vm", "Delete a VM for good, with its disk. Forks and snapshots of it stay.", c.Delete)
	tool(t, replaces, "resize_vm", "Give a VM another size. One that runs is shut down for it and boots again: what is in memory and what runs is lost; the disk is kept.", func(ctx context.Context, in resizing) (any, error) {
		id, err := find(ctx, c, in.VM)
		if err != nil {
			return nil, err
		}
		return c.Resize(ctx, id, api.ResizeVM{VCPUCount: in.CPUs, MemSizeGb: in.MemoryGiB, RootfsSizeGb: in.DiskGiB})
	})
	tool(t, adds, "fork_vm", "Make VMs that go on from where one is now, with its memory, processes and disk. The VM itself runs on.", func(ctx context.Context, in forking) (any, error) {
		id, err := find(ctx, c, in.VM)
		if err != nil {
			return nil, err
		}
		return c.Fork(ctx, id, api.ForkVM{Count: in.Count, Name: in.Name})
	})
	tool(t, adds, "snapshot_vm", "Keep what a VM is now, memory and all, to create VMs from later. It outlives the VM.", func(ctx context.Context, in snapshotting) (any, error) {
		id, err := find(ctx, c, in.VM)
		if err != nil {
			return nil, err
		}
		return c.TakeSnapshot(ctx, id, api.TakeSnapshot{Name: in.Name})
	})
}

func (t toolbox) create(ctx context.Context, in shape) (any, error) {
	spec := api.VMSpec{Name: in.Name, VCPUCount: in.CPUs, MemSizeGb: in.MemoryGiB, RootfsSizeGb: in.DiskGiB}
	if in.Snapshot != "" {
		id, err := findSnapshot(ctx, t.client, in.Snapshot)
		if err != nil {
			return nil, err
		}
		spec.SnapshotID = &id
	}
	return t.client.Create(ctx, api.CreateVM{VMSpec: spec})
}
