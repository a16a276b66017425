package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice/client"
)

// What the documents tell a reader to type works, one block after the other: each
// that comes after a line <!-- run -->.
func TestDocs(t *testing.T) {
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, document := range documents {
		blocks := blocksToRun(t, document)
		if len(blocks) == 0 {
			continue
		}
		ran++
		t.Run(filepath.Base(document), func(t *testing.T) {
			dir := t.TempDir()
			before := vms(t)
			for _, block := range blocks {
				shell := exec.CommandContext(deadline(t), "bash", "-euxo", "pipefail", "-c", block)
				shell.Dir = dir
				if out, err := shell.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			if after := vms(t); !slices.Equal(before, after) {
				t.Errorf("before there were the VMs %v, and after it %v", before, after)
			}
		})
	}
	if ran < 2 {
		t.Errorf("only %d documents have something to run", ran)
	}
}

// blocksToRun returns the blocks of a document that are to be run.
func blocksToRun(t *testing.T, name string) (blocks []string) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var block strings.Builder
	marked, inside := false, false
	for lines := bufio.NewScanner(file); lines.Scan(); {
		switch line := lines.Text(); {
		case line == "<!-- run -->":
			marked = true
		case marked && line == "```sh":
			inside = true
		case inside && line == "```":
			blocks = append(blocks, block.String())
			marked, inside = false, false
			block.Reset()
		case inside:
			block.WriteString(line + "\n")
		}
	}
	if marked {
		t.Fatalf("%s: after the last <!-- run --> there is no block of sh that ends", name)
	}
	return blocks
}

// vms returns the VMs there are.
func vms(t *testing.T) (ids []string) {
	t.Helper()
	list, err := connect(t).VMs(deadline(t), client.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, vm := range list.VMs {
		ids = append(ids, vm.ID)
	}
	return ids
}
