package main

import (
	"context"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/pflag"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

const mcpInstructions = `coppice keeps virtual machines: real Debian, root by default. A VM is named by its name, its id, or the beginning of its id.
A fork is a copy of a running VM with memory, processes and disk, made in moments: fork before you try what may go wrong, or to try several things at once, and delete what you do not need, snapshots too.
A VM that nobody uses for its idle timeout is suspended, or deleted if it is ephemeral: make so what is only for the moment.
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

// A keeping is how long a VM stays, in the words of the command line's flags.
type keeping struct {
	Persistence string `json:"persistence,omitempty" jsonschema:"what becomes of it: sticky (stays, but may be evicted when storage is short and it does not run), sticky:PRIORITY (0 to 10, higher is evicted later), persistent (stays), ephemeral:OnSuspend or ephemeral (deleted when it is idle or suspended), ephemeral:OnStop (deleted when it is idle or stopped)"`
	IdleTimeout string `json:"idle_timeout,omitempty" jsonschema:"time without activity after which it is suspended, or deleted if it is ephemeral: 90s, 10m, 2h, or never"`
}

// read returns what k says; what it does not is left to the API.
func (k keeping) read() (*api.Persistence, api.IdleTimeout, error) {
	var p persistence
	var idle idleTimeout
	err := errors.Join(readArgument("persistence", k.Persistence, &p), readArgument("idle_timeout", k.IdleTimeout, &idle))
	return p.value, idle.value, err
}

// readArgument reads an argument that is written as a flag of the command line is.
func readArgument(name, value string, into pflag.Value) error {
	if value == "" {
		return nil
	}
	if err := into.Set(value); err != nil {
		return coppice.Errorf(coppice.CodeInvalidRequest, "%s is %q: %s", name, value, err)
	}
	return nil
}

// A shape is what a VM to be made is like, as far as somebody cares.
type shape struct {
	keeping
	Name      *string  `json:"name,omitempty" jsonschema:"need not be unique"`
	Snapshot  string   `json:"snapshot,omitempty" jsonschema:"snapshot to start from, by name or id; the host's Debian image if absent"`
	CPUs      *int     `json:"cpus,omitempty" jsonschema:"a power of two"`
	MemoryGiB *float64 `json:"memory_gib,omitempty" jsonschema:"a power of two, or 0.5"`
	DiskGiB   *float64 `json:"disk_gib,omitempty"`
}

type starting struct {
	named
	IdleTimeout string `json:"idle_timeout,omitempty" jsonschema:"from now on, as for create_vm; as it was if absent"`
}

type resizing struct {
	named
	CPUs      *int     `json:"cpus,omitempty" jsonschema:"a power of two"`
	MemoryGiB *float64 `json:"memory_gib,omitempty" jsonschema:"a power of two, or 0.5"`
	DiskGiB   *float64 `json:"disk_gib,omitempty" jsonschema:"only more than it has"`

	DiscardMemory *bool `json:"discard_memory,omitempty" jsonschema:"let a suspended VM lose its memory, and be stopped; it is refused otherwise"`
}

type forking struct {
	named
	keeping
	Count *int    `json:"count,omitempty" jsonschema:"how many, 1 to 100; 1 if absent"`
	Name  *string `json:"name,omitempty" jsonschema:"of the forks; with more than one, -1, -2 and so on is appended"`
}

type snapshotting struct {
	named
	Name *string `json:"name,omitempty" jsonschema:"of the snapshot; need not be unique"`
}

type deletingSnapshot struct {
	Snapshot string `json:"snapshot" jsonschema:"its name, its id, or the beginning of its id"`
}

func (t toolbox) addLifecycle() {
	c := t.client
	tool(t, looks, "list_vms", "List the VMs, oldest first.", func(ctx context.Context, _ struct{}) (any, error) {
		return c.VMs(ctx, client.Query{})
	})
	vmTool(t, looks, "get_vm", "Say what is known about a VM: its state and why, its size, its persistence, and when it is reclaimed: suspended, or deleted if it is ephemeral.", c.VM)
	vmTool(t, looks, "vm_history", "Say what happened to a VM, and why.", func(ctx context.Context, id string) (api.History, error) {
		return c.History(ctx, id, 0)
	})
	tool(t, adds, "create_vm", "Make a VM, and wait until it runs. It is sticky if persistence is absent, and has an idle timeout of 5 minutes.", t.create)
	tool(t, adds, "fork_vm", "Make VMs that go on from where one is now, with its memory, processes and disk. The VM itself runs on. The forks have its persistence and idle timeout where these are absent.", t.fork)
	tool(t, continues, "start_vm", "Boot a stopped VM, or go on with a suspended one, and wait until it runs.", t.start)
	vmTool(t, destroys, "suspend_vm", "Keep a VM's memory, processes and disk, and end its process. It goes on when it is used. But a VM that is ephemeral, or ephemeral:OnSuspend, which is the same, is deleted.", c.Suspend)
	vmTool(t, destroys, "stop_vm", "Shut a VM down. What is in memory and what runs is lost; the disk is kept. A VM that is ephemeral:OnStop is deleted.", c.Stop)
	vmTool(t, destroys, "kill_vm", "End a VM's run without asking the guest, like pulling the plug. What is in memory, what runs, and what was not yet written to the disk is lost; the disk is kept. A VM that is ephemeral:OnStop is deleted.", c.Kill)
	tool(t, replaces, "resize_vm", "Give a VM another size. One that runs is shut down for it and boots again: what is in memory and what runs is lost; the disk is kept.", t.resize)
	vmTool(t, destroys, "delete_vm", "Delete a VM for good, with its disk. Forks and snapshots of it stay.", c.Delete)
	tool(t, looks, "list_snapshots", "List the snapshots, oldest first.", func(ctx context.Context, _ struct{}) (any, error) {
		return c.Snapshots(ctx, false)
	})
	tool(t, adds, "snapshot_vm", "Keep what a VM is now, memory and all, to create VMs from later. It outlives the VM.", t.snapshot)
	tool(t, destroys, "delete_snapshot", "Delete a snapshot for good. VMs that came from it go on.", t.deleteSnapshot)
}

func (t toolbox) create(ctx context.Context, in shape) (any, error) {
	spec := api.VMSpec{Name: in.Name, VCPUCount: in.CPUs, MemSizeGb: in.MemoryGiB, RootfsSizeGb: in.DiskGiB}
	var err error
	if spec.Persistence, spec.IdleTimeoutSeconds, err = in.read(); err != nil {
		return nil, err
	}
	if in.Snapshot != "" {
		id, err := findSnapshot(ctx, t.client, in.Snapshot)
		if err != nil {
			return nil, err
		}
		spec.SnapshotID = &id
	}
	return t.client.Create(ctx, api.CreateVM{VMSpec: spec})
}

func (t toolbox) fork(ctx context.Context, in forking) (any, error) {
	spec := api.ForkVM{Count: in.Count, Name: in.Name}
	var err error
	if spec.Persistence, spec.IdleTimeoutSeconds, err = in.read(); err != nil {
		return nil, err
	}
	id, err := find(ctx, t.client, in.VM)
	if err != nil {
		return nil, err
	}
	return t.client.Fork(ctx, id, spec)
}

func (t toolbox) start(ctx context.Context, in starting) (any, error) {
	var idle idleTimeout
	if err := readArgument("idle_timeout", in.IdleTimeout, &idle); err != nil {
		return nil, err
	}
	id, err := find(ctx, t.client, in.VM)
	if err != nil {
		return nil, err
	}
	return t.client.Start(ctx, id, api.StartVM{IdleTimeoutSeconds: idle.value})
}

func (t toolbox) resize(ctx context.Context, in resizing) (any, error) {
	id, err := find(ctx, t.client, in.VM)
	if err != nil {
		return nil, err
	}
	return t.client.Resize(ctx, id, api.ResizeVM{
		VCPUCount: in.CPUs, MemSizeGb: in.MemoryGiB, RootfsSizeGb: in.DiskGiB, DiscardMemory: in.DiscardMemory,
	})
}

func (t toolbox) snapshot(ctx context.Context, in snapshotting) (any, error) {
	id, err := find(ctx, t.client, in.VM)
	if err != nil {
		return nil, err
	}
	return t.client.TakeSnapshot(ctx, id, api.TakeSnapshot{Name: in.Name})
}

func (t toolbox) deleteSnapshot(ctx context.Context, in deletingSnapshot) (any, error) {
	id, err := findSnapshot(ctx, t.client, in.Snapshot)
	if err != nil {
		return nil, err
	}
	return t.client.DeleteSnapshot(ctx, id)
}
