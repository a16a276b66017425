package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Clients ask before a tool that may lose something, and may repeat one that is
// idempotent. What a tool may lose it says, and so does docs/MCP.md.
func TestMCPHints(t *testing.T) {
	type hints struct{ looks, destroys, idempotent bool }
	want := map[string]struct {
		hints
		loses []string // said in its description
	}{
		"list_vms":       {hints: hints{looks: true}},
		"get_vm":         {hints: hints{looks: true}},
		"vm_history":     {hints: hints{looks: true}},
		"list_snapshots": {hints: hints{looks: true}},
		"read_file":      {hints: hints{looks: true}},
		"create_vm":      {},
		"fork_vm":        {},
		"snapshot_vm":    {},
		"start_vm":       {hints: hints{idempotent: true}},
		"suspend_vm":     {hints{destroys: true}, []string{"ephemeral:OnSuspend", "is deleted"}},
		"stop_vm":        {hints{destroys: true}, []string{"in memory and what runs is lost", "ephemeral:OnStop is deleted"}},
		"kill_vm":        {hints{destroys: true}, []string{"in memory, what runs, and what was not yet written to the disk is lost", "ephemeral:OnStop is deleted"}},
		"resize_vm":      {hints{destroys: true, idempotent: true}, []string{"in memory and what runs is lost"}},
		"delete_vm":      {hints{destroys: true}, []string{"for good"}},
		"exec":           {hints{destroys: true}, []string{"Run a command"}},
		"write_file":     {hints{destroys: true, idempotent: true}, []string{"Replace a file"}},
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
