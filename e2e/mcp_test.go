package e2e

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// An agent makes a VM, works in it, forks and snapshots it, and leaves nothing, by the
// tools alone.
func TestMCP(t *testing.T) {
	connect(t) // and with it, an audit at the end
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
		Connect(deadline(t), &mcp.CommandTransport{Command: exec.Command(install.program, "mcp")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	})
	call := func(tool string, arguments map[string]any) string {
		t.Helper()
		result, err := session.CallTool(deadline(t), &mcp.CallToolParams{Name: tool, Arguments: arguments})
		if err != nil {
			t.Fatal(err)
		}
		text := result.Content[0].(*mcp.TextContent).Text
		if result.IsError {
			t.Fatalf("%s: %s", tool, text)
		}
		return text
	}
	var vm struct{ ID string }
	if err := json.Unmarshal([]byte(call("create_vm", map[string]any{"name": "mcp"})), &vm); err != nil {
		t.Fatal(err)
	}
	call("write_file", map[string]any{"vm": vm.ID, "path": "/srv/note", "content": "of an agent"})
	call("fork_vm", map[string]any{"vm": vm.ID, "name": "mcp-twig"})
	if got := call("exec", map[string]any{"vm": "mcp-twig", "command": "cat /srv/note; hostname"}); !strings.Contains(got, `of an agentmcp-twig\n`) {
		t.Errorf("in the fork: %s", got)
	}
	for _, wrong := range []map[string]any{
		{"vm": vm.ID, "command": "true", "dir": "/not/there"},
		{"vm": vm.ID, "command": ": " + strings.Repeat("x", 200<<10)}, // more than Linux takes
	} {
		result, err := session.CallTool(deadline(t), &mcp.CallToolParams{Name: "exec", Arguments: wrong})
		if err != nil {
			t.Fatal(err)
		}
		if text := result.Content[0].(*mcp.TextContent).Text; !result.IsError || !strings.Contains(text, "(INVALID_REQUEST)") {
			t.Errorf("what cannot be started: %s", text)
		}
	}
	call("delete_vm", map[string]any{"vm": "mcp-twig"})

	call("snapshot_vm", map[string]any{"vm": vm.ID, "name": "mcp-seed"})
	call("create_vm", map[string]any{"name": "mcp-seedling", "snapshot": "mcp-seed", "persistence": "ephemeral:OnStop", "idle_timeout": "never"})
	call("delete_snapshot", map[string]any{"snapshot": "mcp-seed"})
	if got := call("exec", map[string]any{"vm": "mcp-seedling", "command": "cat /srv/note"}); !strings.Contains(got, "of an agent") {
		t.Errorf("of a snapshot: %s", got)
	}
	call("stop_vm", map[string]any{"vm": "mcp-seedling"})
	call("fork_vm", map[string]any{"vm": vm.ID, "name": "mcp-leaf", "persistence": "ephemeral", "idle_timeout": "never"})
	call("suspend_vm", map[string]any{"vm": "mcp-leaf"})
	call("fork_vm", map[string]any{"vm": vm.ID, "name": "mcp-mayfly", "persistence": "ephemeral", "idle_timeout": "2s"})
	await(t, "an ephemeral fork that is idle is deleted", func() bool { return !strings.Contains(call("list_vms", nil), "mcp-mayfly") })
	call("delete_vm", map[string]any{"vm": vm.ID})
	for _, tool := range []string{"list_vms", "list_snapshots"} {
		if got := call(tool, nil); strings.Contains(got, "mcp") || strings.Contains(got, vm.ID) {
			t.Errorf("after all was deleted %s says %s", tool, got)
		}
	}
}
