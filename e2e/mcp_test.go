package e2e

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// An agent makes a VM, works in it, forks it and deletes both, by the tools alone.
func TestMCP(t *testing.T) {
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
	call("delete_vm", map[string]any{"vm": vm.ID})
	if got := call("list_vms", nil); strings.Contains(got, vm.ID) {
		t.Errorf("after it was deleted there is %s", got)
	}
}
