package main

import (
	"bytes"
	"encoding/json"
	"io"
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
	Imports    []string // tests' excepted
	GoFiles    []string

	path string // in the module; "." is the root
}

func sourcePackages(t *testing.T) []sourcePackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports,GoFiles", module+"/...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var all []sourcePackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
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
	"sqlite", "qemu", "pool", "hostnet", "guest", "image", "http", "client", "sshgate", "ingress", "dashboard", "mem",
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
			case from == "conformance":
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
