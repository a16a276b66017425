// Package nodetest runs tests that are written for Node, as parts of Go's.
package nodetest

import (
	"os"
	"os/exec"
	"testing"
)

// Run installs what the package.json in dir asks for and runs Node's test runner
// there. args are its own, the names of files among them; env is added to the
// environment.
func Run(t *testing.T, dir string, env []string, args ...string) {
	t.Helper()
	npm := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	node := exec.CommandContext(t.Context(), "node", append([]string{"--test", "--test-reporter=spec"}, args...)...)
	node.Dir = dir
	node.Env = append(os.Environ(), env...)
	out, err := node.CombinedOutput()
	if err != nil {
		t.Errorf("node: %v", err)
	}
	t.Logf("%s", out)
}
