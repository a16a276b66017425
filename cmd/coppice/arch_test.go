package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/coppice-vm/coppice"

// A sourcePackage is what "go list" says of a package of ours.
type sourcePackage struct {
	ImportPath string
	Name       string
	Doc        string
	GoFiles    []string

	Imports, TestImports, XTestImports []string

	path string // in the module; "." is the root
}

func sourcePackages(t *testing.T) []sourcePackage {
	t.Helper()
	out := goList(t, "-json=ImportPath,Name,Doc,GoFiles,Imports,TestImports,XTestImports", module+"/...")
	var all []sourcePackage
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var p sourcePackage
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		p.path, _ = within(p.ImportPath)
		all = append(all, p)
	}
}

func goList(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	return string(out)
}

// within returns the path in the module of a package of ours.
func within(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// house is the first element of a package's path: an adapter with its inner
// packages is one house.
func house(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

// adapters are the packages that do what the ports or the users ask for. None
// knows another; only cmd/coppice knows them all.
var adapters = []string{
	"sqlite", "qemu", "pool", "hostnet", "guest", "image", "http", "client", "sshgate", "ingress", "dashboard", "mem", "metrics", "traces",
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range sourcePackages(t) {
		name := p.path[strings.LastIndex(p.path, "/")+1:]
		want := "Package " + name + " "
		switch {
		case len(p.GoFiles) == 0: // tests only
			continue
		case p.path == ".":
			want = "Package coppice "
		case p.Name == "main":
			want = "Command " + name + " "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: its doc comment begins %.40q, want %q", p.ImportPath, p.Doc, want)
		}
	}
}

func TestWhoMayImportWhom(t *testing.T) {
	// Words that two sides of a wire share are no adapters, wherever they are.
	shapes := []string{"api", "guest/boot", "guest/wire"}

	for _, p := range sourcePackages(t) {
		for _, imported := range p.Imports {
			to, ours := within(imported)
			if !ours {
				if p.path == "." && strings.Contains(house(imported), ".") {
					t.Errorf("the root imports %s; it may import the standard library only", imported)
				}
				continue
			}
			ok := true
			switch from := house(p.path); {
			case p.path == "cmd/coppice":
			case from == ".":
				ok = false
			case from == "api":
				ok = false
			case from == "lifecycle":
				ok = to == "." || to == "internal/undo"
			case from == "access":
				ok = to == "."
			case from == "conformance", from == "sweep":
				ok = to == "." || house(to) == "internal" || to == from
			case slices.Contains(adapters, from):
				ok = to == "." || house(to) == "internal" || house(to) == from || slices.Contains(shapes, to)
			case from == "internal":
				ok = to == "." || house(to) == "internal" || slices.Contains(shapes, to)
			case p.path == "cmd/coppice-agent":
				ok = house(to) == "guest" || house(to) == "internal"
			default:
				t.Errorf("%s is in no rule of this test", p.ImportPath)
			}
			if !ok {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

func TestEveryDependencyHasItsReason(t *testing.T) {
	doc, err := os.ReadFile("../../docs/DEPENDENCIES.md")
	if err != nil {
		t.Fatal(err)
	}
	modules := strings.Fields(goList(t, "-m", "-f", "{{.Path}}", "all"))
	used := map[string]bool{}
	for _, p := range sourcePackages(t) {
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			longest := ""
			for _, m := range modules {
				if (imported == m || strings.HasPrefix(imported, m+"/")) && len(m) > len(longest) {
					longest = m
				}
			}
			used[longest] = true
		}
	}
	delete(used, "") // the standard library
	delete(used, module)
	if len(used) == 0 {
		t.Error("found no dependency at all")
	}
	for m := range used {
		if !strings.Contains(string(doc), "`"+m+"`") {
			t.Errorf("docs/DEPENDENCIES.md says nothing about %s", m)
		}
	}
}
