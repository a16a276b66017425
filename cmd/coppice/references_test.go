package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var (
	update = flag.Bool("update", false, "write docs/CLI.md and docs/API.md")
	out    = flag.String("out", "", "write man pages and completions for shells below this directory")
)

// docs/CLI.md and docs/API.md are what the program says of itself. "make docs"
// writes them.
func TestReferences(t *testing.T) {
	for name, want := range map[string]string{"CLI.md": cliReference(tree()), "API.md": apiReference(t)} {
		name = filepath.Join("../../docs", name)
		if *update {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s is not what the program says: make docs (%v)", name, err)
		}
	}
}

// TestManual writes what a package has beside the program: a man page for every
// command, and completions.
func TestManual(t *testing.T) {
	dir := cmp.Or(*out, t.TempDir())
	man := filepath.Join(dir, "man")
	if err := os.MkdirAll(man, 0o755); err != nil {
		t.Fatal(err)
	}
	header := &doc.GenManHeader{Section: "1", Source: "coppice", Manual: "coppice", Date: new(time.Unix(0, 0))}
	if err := doc.GenManTree(tree(), header, man); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(man, "coppice-*.1"))
	if err != nil || len(pages) < 30 {
		t.Errorf("there are %d man pages of commands, %v", len(pages), err)
	}
	if groff, err := exec.LookPath("groff"); err == nil {
		if said, err := exec.Command(groff, append([]string{"-man", "-Tutf8", "-ww", "-z"}, pages...)...).CombinedOutput(); err != nil || len(said) > 0 {
			t.Errorf("groff has something to say about the pages: %v\n%s", err, said)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var script bytes.Buffer
		m := &Main{Stdin: strings.NewReader(""), Stdout: &script, Stderr: t.Output(), Getenv: unset}
		if err := m.Parse([]string{"completion", shell}); err != nil || script.Len() == 0 {
			t.Fatalf("completion for %s: %v", shell, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "coppice."+shell), script.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// unset is an environment with nothing in it.
func unset(string) string { return "" }

// tree returns the tree of commands as a new user meets it.
func tree() *cobra.Command {
	root := (&Main{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Getenv: unset}).root()
	root.DisableAutoGenTag = true
	root.InitDefaultCompletionCmd()
	return root
}

func cliReference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# The command line\n\nMade from the program by `make docs`: do not edit.\n\n")
	fmt.Fprintf(&b, "%s\n\nFlags of every command:\n\n```\n%s```\n", strings.TrimSpace(root.Long), root.PersistentFlags().FlagUsages())
	var add func(*cobra.Command)
	add = func(c *cobra.Command) {
		if !c.IsAvailableCommand() {
			return
		}
		if c.Runnable() {
			addCommand(&b, c)
		}
		for _, sub := range c.Commands() {
			add(sub)
		}
	}
	for _, c := range root.Commands() {
		if c.Name() != "completion" { // cobra's own, and long
			add(c)
		}
	}
	return b.String()
}

// notRun are commands whose examples no test runs, and why.
var notRun = map[string]string{
	"coppice ca":  "it changes whom the machine trusts",
	"coppice mcp": "a client's own command",
}

func addCommand(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n```\n%s\n```\n", c.CommandPath(), cmp.Or(strings.TrimSpace(c.Long), c.Short+"."), c.UseLine())
	if len(c.Aliases) > 0 {
		fmt.Fprintf(b, "\nAlso called: %s\n", strings.Join(c.Aliases, ", "))
	}
	if c.HasAvailableLocalFlags() {
		fmt.Fprintf(b, "\n```\n%s```\n", c.LocalNonPersistentFlags().FlagUsages())
	}
	if c.Example != "" {
		b.WriteString("\n")
		if why := notRun[c.CommandPath()]; why != "" {
			fmt.Fprintf(b, "<!-- not run: %s -->\n", why)
		}
		fmt.Fprintf(b, "```sh\n%s\n```\n", c.Example)
	}
}

// What of an OpenAPI document a reference needs.
type (
	openAPI struct {
		Info       struct{ Description string }
		Paths      map[string]map[string]operation
		Components struct{ Schemas map[string]schema }
	}
	operation struct {
		Summary, Description string
		Parameters           []struct {
			Name, In, Description string
			Required              bool
			Schema                schema
		}
		RequestBody struct{ Content map[string]media }
		Responses   map[string]struct{ Content map[string]media }
		Security    []map[string]any
	}
	media  struct{ Schema schema }
	schema struct {
		Ref         string `json:"$ref"`
		Type        any
		Format      string
		Description string
		Enum        []any
		Items       *schema
		OneOf       []schema
		Properties  map[string]schema
		Required    []string
	}
)

func apiReference(t *testing.T) string {
	resp, err := http.Get(serveTwin(t, t.TempDir()).URL + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var api openAPI
	if err := json.NewDecoder(resp.Body).Decode(&api); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# The API\n\nMade from the program by `make docs`: do not edit. A daemon says the same at `/openapi.json`.\n\n%s\n\n%s\n", api.Info.Description,
		"Who may call what is in [ACCESS.md](ACCESS.md), what errors mean in [TROUBLESHOOTING.md](TROUBLESHOOTING.md).")
	for _, path := range slices.Sorted(maps.Keys(api.Paths)) {
		for _, method := range []string{"get", "post", "put", "patch", "delete"} {
			if op, ok := api.Paths[path][method]; ok {
				addOperation(&b, strings.ToUpper(method)+" "+path, op)
			}
		}
	}
	b.WriteString("\n# Shapes\n")
	for _, name := range slices.Sorted(maps.Keys(api.Components.Schemas)) {
		addShape(&b, name, api.Components.Schemas[name])
	}
	return b.String()
}

func addOperation(b *strings.Builder, name string, op operation) {
	fmt.Fprintf(b, "\n## %s\n\n%s.", name, op.Summary)
	if op.Description != "" {
		fmt.Fprintf(b, " %s", schemaRef.ReplaceAllString(op.Description, "`$1`"))
	}
	b.WriteString("\n")
	if len(op.Security) == 0 {
		b.WriteString("\nNo key is needed.\n")
	}
	if len(op.Parameters) > 0 {
		b.WriteString("\n| parameter | in | |\n|---|---|---|\n")
		for _, p := range op.Parameters {
			fmt.Fprintf(b, "| `%s` | %s | %s |\n", p.Name, p.In, describeMember(p.Schema, p.Description, p.Required))
		}
	}
	if len(op.RequestBody.Content) > 0 {
		fmt.Fprintf(b, "\nTakes %s.\n", contents(op.RequestBody.Content))
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		if status != "default" { // an error
			fmt.Fprintf(b, "\nAnswers %s", status)
			if content := op.Responses[status].Content; len(content) > 0 {
				fmt.Fprintf(b, ": %s", contents(content))
			}
			b.WriteString(".\n")
		}
	}
}

var schemaRef = regexp.MustCompile(`#/components/schemas/(\w+)`)

func contents(types map[string]media) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(types)) {
		if kind := typeOf(types[name].Schema); name == "application/json" {
			all = append(all, kind)
		} else {
			all = append(all, "`"+name+"`")
		}
	}
	return strings.Join(all, " or ")
}

func addShape(b *strings.Builder, name string, s schema) {
	fmt.Fprintf(b, "\n## %s\n", name)
	if len(s.Properties) == 0 {
		fmt.Fprintf(b, "\n%s\n", describeMember(s, s.Description, true))
		return
	}
	b.WriteString("\n| member | |\n|---|---|\n")
	for _, member := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[member]
		fmt.Fprintf(b, "| `%s` | %s |\n", member, describeMember(p, p.Description, slices.Contains(s.Required, member)))
	}
}

// describeMember says in a table what something is.
func describeMember(s schema, description string, required bool) string {
	text := typeOf(s)
	if !required {
		text += ", may be absent"
	}
	if len(s.Enum) > 0 {
		text += fmt.Sprintf(", one of %v", s.Enum)
	}
	if description != "" {
		text += ": " + description
	}
	return strings.ReplaceAll(text, "|", `\|`)
}

func typeOf(s schema) string {
	switch {
	case s.Ref != "":
		name := filepath.Base(s.Ref)
		return fmt.Sprintf("[%s](#%s)", name, strings.ToLower(name))
	case s.Items != nil:
		return "array of " + typeOf(*s.Items)
	case len(s.OneOf) > 0:
		var all []string
		for _, one := range s.OneOf {
			all = append(all, typeOf(one))
		}
		return strings.Join(all, " or ")
	case s.Type == nil:
		return "anything"
	}
	text := fmt.Sprint(s.Type)
	if types, ok := s.Type.([]any); ok {
		text = strings.Trim(strings.ReplaceAll(fmt.Sprint(types), " ", " or "), "[]")
	}
	if s.Format != "" {
		text += " (" + s.Format + ")"
	}
	return text
}
