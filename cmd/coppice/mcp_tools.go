package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

const mcpInstructions = `coppice keeps virtual machines: real Debian, root by default. A VM is named by its name, its id, or the beginning of its id.
A fork is a copy of a running VM with memory, processes and disk, made in moments: fork before you try what may go wrong, or to try several things at once, and delete what you do not need.
A suspended VM wakes by itself when it is used; a stopped one is to be started. Deleting is for good.`

// What of a command's output, of each stream, and of a file an agent is given:
// all it reads takes room in its context.
const (
	mcpOutputBytes = 64 << 10
	mcpFileBytes   = 256 << 10
	mcpEntries     = 1000 // of a directory
	mcpExecTimeout = 2 * time.Minute
)

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

// What a tool does to the world, as its client is told.
var (
	looks    = &mcp.ToolAnnotations{ReadOnlyHint: true}
	adds     = &mcp.ToolAnnotations{DestructiveHint: new(false)}
	changes  = &mcp.ToolAnnotations{DestructiveHint: new(false), IdempotentHint: true}
	destroys = &mcp.ToolAnnotations{DestructiveHint: new(true)}
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
	vmTool(t, changes, "start_vm", "Boot a stopped VM, or go on with a suspended one, and wait until it runs.", func(ctx context.Context, id string) (api.Started, error) {
		return c.Start(ctx, id, api.StartVM{})
	})
	vmTool(t, changes, "stop_vm", "Shut a VM down. Its disk is kept; what is in memory and what runs is lost.", c.Stop)
	vmTool(t, changes, "kill_vm", "End a VM's run without asking the guest, like pulling the plug. The disk is kept.", c.Kill)
	vmTool(t, changes, "suspend_vm", "Keep a VM's memory, processes and disk, and end its process. It goes on when it is used.", c.Suspend)
	vmTool(t, destroys, "delete_vm", "Delete a VM for good, with its disk. Forks and snapshots of it stay.", c.Delete)
	tool(t, changes, "resize_vm", "Give a VM another size. One that runs is shut down for it and boots again.", func(ctx context.Context, in resizing) (any, error) {
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

type running struct {
	named
	Command string `json:"command" jsonschema:"a script for the user's shell"`
	User    string `json:"user,omitempty" jsonschema:"root if absent"`
	Dir     string `json:"dir,omitempty" jsonschema:"directory to run in; the user's home if absent"`
	Stdin   string `json:"stdin,omitempty"`
	Timeout *int   `json:"timeout_seconds,omitempty" jsonschema:"after which it is killed; 120 if absent"`
}

// A ran is how a command went.
type ran struct {
	ExitCode int    `json:"exitCode"`
	TimedOut bool   `json:"timedOut,omitempty"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
}

type fileAt struct {
	named
	Path string `json:"path" jsonschema:"relative to the user's home, or absolute"`
	User string `json:"user,omitempty" jsonschema:"root if absent"`
}

type writing struct {
	fileAt
	Content string `json:"content"`
	Base64  bool   `json:"base64,omitempty" jsonschema:"content is base64"`
}

// A file is what is at a path in a guest.
type file struct {
	Kind    string            `json:"kind"`
	Content string            `json:"content,omitempty"`
	Base64  bool              `json:"base64,omitempty"`
	Entries map[string]string `json:"entries,omitempty"`
	LeftOut int               `json:"entriesLeftOut,omitempty"` // the last by name
}

func (t toolbox) addInside() {
	tool(t, destroys, "exec", fmt.Sprintf("Run a command in a VM and wait for it to end. Of an output of more than %d KiB you get the beginning and the end.", mcpOutputBytes>>10), t.exec)
	tool(t, looks, "read_file", fmt.Sprintf("Read a file of at most %d KiB in a VM, or list a directory, the first %d names. What is not text comes as base64.", mcpFileBytes>>10, mcpEntries), t.read)
	tool(t, destroys, "write_file", "Replace a file in a VM, or make it, with its parents.", t.write)
}

func (t toolbox) exec(ctx context.Context, in running) (any, error) {
	id, err := find(ctx, t.client, in.VM)
	if err != nil {
		return nil, err
	}
	const most = 365 * 24 * time.Hour // as everywhere
	spec := coppice.ExecSpec{Command: in.Command, User: in.User, Dir: in.Dir, Timeout: mcpExecTimeout}
	if in.Timeout != nil {
		if *in.Timeout < 1 || *in.Timeout > int(most/time.Second) {
			return nil, fmt.Errorf("timeout_seconds is %d; it can be 1 to %d", *in.Timeout, int(most/time.Second))
		}
		spec.Timeout = time.Duration(*in.Timeout) * time.Second
	}
	var stdout, stderr excerpt
	status, err := t.client.Exec(ctx, id, spec, coppice.Stdio{Stdin: strings.NewReader(in.Stdin), Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		return nil, err
	}
	return ran{ExitCode: status.Code, TimedOut: status.TimedOut, Stdout: stdout.String(), Stderr: stderr.String()}, nil
}

// An excerpt keeps the beginning and the end of what is written to it: a command
// that fails says why last.
type excerpt struct {
	begin, end []byte
	between    int // bytes that are not kept
}

func (e *excerpt) Write(b []byte) (int, error) {
	n := min(len(b), mcpOutputBytes/2-len(e.begin))
	e.begin = append(e.begin, b[:n]...)
	e.end = append(e.end, b[n:]...)
	if over := len(e.end) - mcpOutputBytes/2; over > 0 {
		e.end = slices.Delete(e.end, 0, over)
		e.between += over
	}
	return len(b), nil
}

func (e *excerpt) String() string {
	text := string(e.begin) + string(e.end)
	if e.between > 0 {
		text = fmt.Sprintf("%s\n[%d bytes left out]\n%s", e.begin, e.between, e.end)
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

func (t toolbox) read(ctx context.Context, in fileAt) (any, error) {
	id, err := find(ctx, t.client, in.VM)
	if err != nil {
		return nil, err
	}
	found, err := t.client.Files(id, in.User).Open(ctx, in.Path)
	if err != nil {
		return nil, err
	}
	if found.Dir {
		shown := found.Entries[:min(len(found.Entries), mcpEntries)]
		entries := map[string]string{}
		for _, e := range shown {
			entries[e.Name] = kindOf(e.Dir)
		}
		return file{Kind: kindOf(true), Entries: entries, LeftOut: len(found.Entries) - len(shown)}, nil
	}
	defer found.Content.Close()
	content, err := io.ReadAll(io.LimitReader(found.Content, mcpFileBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(content) > mcpFileBytes:
		return nil, fmt.Errorf("%s has more than %d KiB; read a part of it by exec, with head, tail, sed or grep", in.Path, mcpFileBytes>>10)
	case utf8.Valid(content):
		return file{Kind: kindOf(false), Content: string(content)}, nil
	}
	return file{Kind: kindOf(false), Content: base64.StdEncoding.EncodeToString(content), Base64: true}, nil
}

func kindOf(dir bool) string {
	if dir {
		return "directory"
	}
	return "file"
}

func (t toolbox) write(ctx context.Context, in writing) (any, error) {
	id, err := find(ctx, t.client, in.VM)
	if err != nil {
		return nil, err
	}
	content := []byte(in.Content)
	if in.Base64 {
		if content, err = base64.StdEncoding.DecodeString(in.Content); err != nil {
			return nil, fmt.Errorf("content is not base64: %w", err)
		}
	}
	return api.Empty{}, t.client.Files(id, in.User).Write(ctx, in.Path, 0o644, bytes.NewReader(content))
}
