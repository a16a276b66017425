package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice/internal/host"
)

// Clients ask before a tool that may lose something, and may repeat one that is
// idempotent. What a tool may lose it says, and so does docs/MCP.md.
func TestMCPHints(t *testing.T) {
	type hints struct{ looks, destroys, idempotent bool }
	want := map[string]struct {
		hints
		loses []string // said in its description
	}{
		"list_vms":        {hints: hints{looks: true}},
		"get_vm":          {hints: hints{looks: true}},
		"vm_history":      {hints: hints{looks: true}},
		"list_snapshots":  {hints: hints{looks: true}},
		"read_file":       {hints: hints{looks: true}},
		"create_vm":       {},
		"fork_vm":         {},
		"snapshot_vm":     {},
		"start_vm":        {hints: hints{idempotent: true}},
		"suspend_vm":      {hints{destroys: true}, []string{"ephemeral:OnSuspend", "is deleted"}},
		"stop_vm":         {hints{destroys: true}, []string{"in memory and what runs is lost", "ephemeral:OnStop is deleted"}},
		"kill_vm":         {hints{destroys: true}, []string{"in memory, what runs, and what was not yet written to the disk is lost", "ephemeral:OnStop is deleted"}},
		"resize_vm":       {hints{destroys: true, idempotent: true}, []string{"in memory and what runs is lost"}},
		"delete_vm":       {hints{destroys: true}, []string{"for good"}},
		"delete_snapshot": {hints{destroys: true}, []string{"for good"}},
		"exec":            {hints{destroys: true}, []string{"Run a command"}},
		"write_file":      {hints{destroys: true, idempotent: true}, []string{"Replace a file"}},
	}
	tools, err := newMCPAgent(t, serveTwin(t, t.TempDir())).session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	documented := documentedTools(t)
	for _, tool := range tools.Tools {
		a, wanted := tool.Annotations, want[tool.Name]
		if a.DestructiveHint == nil && !a.ReadOnlyHint {
			t.Errorf("%s does not say whether it destroys", tool.Name)
			continue
		}
		got := hints{a.ReadOnlyHint, a.DestructiveHint != nil && *a.DestructiveHint, a.IdempotentHint}
		if _, ok := want[tool.Name]; !ok || got != wanted.hints {
			t.Errorf("%s: %+v, want %+v", tool.Name, got, wanted.hints)
		}
		for _, said := range wanted.loses {
			if !strings.Contains(tool.Description, said) {
				t.Errorf("%s does not say %q: %s", tool.Name, said, tool.Description)
			}
		}
		if loses, ok := documented[tool.Name]; !ok || (loses != "") != got.destroys {
			t.Errorf("docs/MCP.md has of %s, which destroys: %t, that it may lose %q", tool.Name, got.destroys, loses)
		}
		delete(documented, tool.Name)
		delete(want, tool.Name)
	}
	if len(want)+len(documented) > 0 {
		t.Errorf("there are no %s; nor, of docs/MCP.md, %s", slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(documented)))
	}
}

// documentedTools returns what each tool may lose, as the table of docs/MCP.md has it.
func documentedTools(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/MCP.md")
	if err != nil {
		t.Fatal(err)
	}
	loses := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`.+`) \\| .+ \\|(.*)\\|$").FindAllStringSubmatch(string(page), -1) {
		for _, name := range strings.Split(row[1], ", ") {
			loses[strings.Trim(name, "`")] = strings.TrimSpace(row[2])
		}
	}
	return loses
}

// An agent can say how long a VM stays, and remove all that it made.
func TestMCPTidies(t *testing.T) {
	for way, connect := range map[string]func(*testing.T, host.Credentials) agent{
		"stdio": newMCPAgent,
		"http": func(t *testing.T, c host.Credentials) agent {
			_, by := serveMCP(t, c.URL)
			return newAgent(t, by(c.Key))
		},
	} {
		t.Run(way, func(t *testing.T) { tidies(t, connect(t, serveTwin(t, t.TempDir()))) })
	}
}

func tidies(t *testing.T, a agent) {
	type arguments = map[string]any
	says := func(want, tool string, in arguments) {
		t.Helper()
		if text, failed := a.calls(tool, in); failed || !strings.Contains(text, want) {
			t.Errorf("%s of %v says %s, want %s", tool, in, text, want)
		}
	}
	refuses := func(want, tool string, in arguments) {
		t.Helper()
		if text, failed := a.calls(tool, in); !failed || !strings.Contains(text, want) {
			t.Errorf("%s of %v says %s, want %s", tool, in, text, want)
		}
	}
	there := func() (names []string) {
		t.Helper()
		for _, vm := range a.does("list_vms", nil).VMs {
			names = append(names, vm.Name)
		}
		return names
	}
	are := func(want ...string) {
		t.Helper()
		if got := there(); !slices.Equal(got, want) {
			t.Errorf("there are %q, want %q", got, want)
		}
	}

	a.does("create_vm", arguments{"name": "tree", "persistence": "sticky:7", "idle_timeout": "never"})
	says(`"persistence":{"type":"sticky","priority":7},"idleTimeoutSeconds":null`, "get_vm", arguments{"vm": "tree"})
	a.does("fork_vm", arguments{"vm": "tree", "name": "bough"})
	says(`"persistence":{"type":"sticky","priority":7},"idleTimeoutSeconds":null`, "get_vm", arguments{"vm": "bough"})
	a.does("fork_vm", arguments{"vm": "tree", "name": "twig", "persistence": "ephemeral", "idle_timeout": "10m"})
	says(`"persistence":{"type":"ephemeral","deleteEvent":"OnSuspend"},"idleTimeoutSeconds":600`, "get_vm", arguments{"vm": "twig"})
	a.does("start_vm", arguments{"vm": "tree", "idle_timeout": "90s"})
	says(`"idleTimeoutSeconds":90`, "get_vm", arguments{"vm": "tree"})

	for _, in := range []arguments{
		{"persistence": "eternal"}, {"persistence": "ephemeral:OnFire"}, {"persistence": "persistent:3"},
		{"idle_timeout": "10"}, {"idle_timeout": "0s"}, {"idle_timeout": "-1m"},
	} {
		refuses("(INVALID_REQUEST)", "create_vm", in)
		in["vm"] = "tree"
		refuses("(INVALID_REQUEST)", "fork_vm", in)
	}
	refuses("priority", "create_vm", arguments{"persistence": "sticky:11"}) // by the API's rule
	refuses(`idle_timeout is "soon": want a duration like 90s or 10m, or never (INVALID_REQUEST)`, "start_vm", arguments{"vm": "tree", "idle_timeout": "soon"})
	says(`"idleTimeoutSeconds":90`, "get_vm", arguments{"vm": "tree"})
	are("tree", "bough", "twig")

	// What the hints warn of.
	a.does("suspend_vm", arguments{"vm": "twig"})
	a.does("create_vm", arguments{"name": "leaf", "persistence": "ephemeral:OnStop"})
	a.does("stop_vm", arguments{"vm": "leaf"})
	a.does("create_vm", arguments{"name": "bud", "persistence": "ephemeral:OnStop"})
	a.does("kill_vm", arguments{"vm": "bud"})
	are("tree", "bough")
	mayfly := a.does("create_vm", arguments{"name": "mayfly", "persistence": "ephemeral", "idle_timeout": "1s"}).ID
	eventually(t, "an ephemeral VM that is idle is deleted", func() bool { return !slices.Contains(there(), "mayfly") })
	says("it was idle for 1s", "vm_history", arguments{"vm": mayfly})
	a.does("suspend_vm", arguments{"vm": "bough"})
	refuses("(VM_NOT_RUNNING)", "resize_vm", arguments{"vm": "bough", "cpus": 4})
	a.does("resize_vm", arguments{"vm": "bough", "cpus": 4, "discard_memory": true})
	says(`"state":"stopped"`, "get_vm", arguments{"vm": "bough"})

	a.does("snapshot_vm", arguments{"vm": "tree", "name": "seed"})
	a.does("create_vm", arguments{"name": "seedling", "snapshot": "seed"})
	a.does("delete_snapshot", arguments{"snapshot": "seed"})
	says(`"snapshots":[]`, "list_snapshots", nil)
	refuses("(SNAPSHOT_NOT_FOUND)", "delete_snapshot", arguments{"snapshot": "seed"})
	refuses("(SNAPSHOT_NOT_FOUND)", "create_vm", arguments{"snapshot": "seed"})
	if got := a.does("exec", arguments{"vm": "seedling", "command": "echo I grow"}); got.Stdout != "I grow\n" {
		t.Errorf("what came of a snapshot that is gone: %+v", got)
	}
	for _, name := range there() {
		a.does("delete_vm", arguments{"vm": name})
	}
	are()
}
