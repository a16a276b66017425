package http

import (
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
)

//go:embed testdata/contract-codes.txt
var contractCodesFile string

// contractCodes returns the status of every code the contract's client knows.
func contractCodes(t *testing.T) map[string]int {
	t.Helper()
	codes := map[string]int{}
	for line := range strings.Lines(contractCodesFile) {
		var code string
		var status int
		if _, err := fmt.Sscanf(line, "%s %d", &code, &status); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		codes[code] = status
	}
	if len(codes) != 327 {
		t.Fatalf("the contract has 327 codes, the list %d", len(codes))
	}
	return codes
}

// Every code that the root defines is the contract's, and has its status.
func TestCodesAreTheContracts(t *testing.T) {
	contract := contractCodes(t)
	defined := rootCodes(t)
	if len(defined) < 20 {
		t.Fatalf("found only %d codes in the root", len(defined))
	}
	for _, code := range defined {
		want, ok := contract[string(code)]
		if !ok {
			t.Errorf("%s is not one of the contract's codes", code)
			continue
		}
		if got := statusOf[code]; got != want {
			t.Errorf("%s has status %d, the contract says %d", code, got, want)
		}
	}
	if len(statusOf) != len(defined) {
		t.Errorf("%d codes have a status, %d are defined", len(statusOf), len(defined))
	}
}

// rootCodes reads the constants of type Code from the root's source.
func rootCodes(t *testing.T) []coppice.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []coppice.Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Code" {
			s, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, coppice.Code(s))
		}
		return true
	})
	return codes
}

// docs/TROUBLESHOOTING.md has a line for every code, with its status.
func TestEveryCodeHasItsLine(t *testing.T) {
	doc, err := os.ReadFile("../docs/TROUBLESHOOTING.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range rootCodes(t) {
		if line := fmt.Sprintf("\n| `%s` | %d | ", code, statusOf[code]); !strings.Contains(string(doc), line) {
			t.Errorf("docs/TROUBLESHOOTING.md has no line that begins%s", line)
		}
	}
}
