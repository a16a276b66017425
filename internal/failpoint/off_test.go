//go:build !failpoints

package failpoint_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNothingIsLeft holds that a program that is not built for tests has nothing
// of points in it: not a function, not a name.
func TestNothingIsLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("it links the program twice")
	}
	for tags, want := range map[string]bool{"": false, "failpoints": true} {
		program := filepath.Join(t.TempDir(), "coppice")
		build := exec.Command("go", "build", "-tags", tags, "-buildvcs=false", "-o", program, "github.com/coppice-vm/coppice/cmd/coppice")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		symbols, err := exec.Command("go", "tool", "nm", program).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(symbols), "internal/failpoint.Point"); got != want {
			t.Errorf("built with the tags %q: functions of points there: %v, want %v", tags, got, want)
		}
		err = exec.Command("grep", "-q", "-a", "-F", "pool/fill/cloned", program).Run()
		if got := err == nil; got != want {
			t.Errorf("built with the tags %q: names of points there: %v (%v), want %v", tags, got, err, want)
		}
	}
}
