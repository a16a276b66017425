package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
)

// A benchReport is what is looked at of a report.
type benchReport struct {
	Quick   bool
	Machine struct {
		CPU, Kernel, VMM, Pool, Coppice string
		Cores, MemoryMib                int
	}
	Benchmarks []benchResult
}

type benchResult struct {
	Name, Error string
	Notes       []string
	Figures     []struct {
		Name, Unit string
		N          int
		Samples    []float64
		Baseline   *struct{ N int }
		Target     *struct{}
		Met        *bool
	}
}

// A report has everything that there is to measure, in words, numbers and plots,
// and nothing of what was made for it is left.
func TestBenchAll(t *testing.T) {
	c := connect(t)
	dir, err := filepath.Abs("../artifacts/bench")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if out, err := benchAll(t, dir).CombinedOutput(); err != nil {
		t.Fatalf("bench all: %v\n%s", err, out)
	}

	var report benchReport
	if err := json.Unmarshal(inReport(t, dir, "report.json"), &report); err != nil {
		t.Fatal(err)
	}
	if m := report.Machine; !report.Quick || m.CPU == "" || m.Kernel == "" || m.VMM == "" || m.Pool == "" || m.Coppice == "" || m.Cores < 1 || m.MemoryMib < 512 {
		t.Errorf("the machine is not described: %+v", m)
	}
	page := string(inReport(t, dir, "report.md"))
	svgElements(t, inReport(t, dir, "targets.svg"))
	var reported, commands []string
	for _, one := range report.Benchmarks {
		reported = append(reported, one.Name)
		one.check(t, page, svgElements(t, inReport(t, dir, one.Name+".svg")))
	}
	for _, command := range regexp.MustCompile(`(?m)^  (\w+) +Measure `).FindAllStringSubmatch(do(t, "%s bench --help", install.program), -1) {
		if name := command[1]; name != "image" { // which takes long
			commands = append(commands, name)
		}
	}
	slices.Sort(reported)
	if !slices.Equal(commands, reported) {
		t.Errorf("there are the benchmarks %v, and reported are %v", commands, reported)
	}
	for _, vm := range benchVMs(t, c) {
		t.Errorf("%s is left", vm.ID)
		remove(t, c, vm.ID)
	}
}

// check checks that everything was measured, and that the page and the plot show it.
func (r benchResult) check(t *testing.T, page string, plot map[string]int) {
	t.Helper()
	if r.Error != "" || len(r.Figures) == 0 {
		t.Errorf("%s: %d figures, %s", r.Name, len(r.Figures), r.Error)
	}
	if !strings.Contains(page, fmt.Sprintf("](%s.svg)", r.Name)) {
		t.Errorf("the page does not show the plot of %s", r.Name)
	}
	samples, legend := 0, 1
	for _, f := range r.Figures {
		if strings.HasPrefix(f.Name, "idle, 8 GiB") && strings.Contains(strings.Join(r.Notes, "\n"), "no room in this host's memory") {
			continue
		}
		if f.N == 0 || f.N != len(f.Samples) || f.Unit == "" {
			t.Errorf("%s, %s: %d samples: %v", r.Name, f.Name, f.N, f.Samples)
		}
		if f.Target != nil && f.Met == nil {
			t.Errorf("%s, %s: whether the target is met is not said", r.Name, f.Name)
		}
		if !strings.Contains(page, fmt.Sprintf("| %s | %d |", f.Name, f.N)) {
			t.Errorf("the page has no row of %s", f.Name)
		}
		samples += f.N
		if f.Baseline != nil {
			samples, legend = samples+f.Baseline.N, 2
		}
	}
	if got := plot["circle"] - legend; got != samples {
		t.Errorf("the plot of %s has %d samples, want %d", r.Name, got, samples)
	}
}

// inReport returns a file of the report in a directory.
func inReport(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Somebody who has had enough gets no report, and has nothing to clean up.
func TestBenchInterrupted(t *testing.T) {
	c := connect(t)
	dir := filepath.Join(t.TempDir(), "report")
	cmd := benchAll(t, dir)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(stderr)
	for said.Scan() && !strings.HasSuffix(said.Text(), " boot ...") { // of a VM that is there until its benchmark ends
	}
	if vms := benchVMs(t, c); len(vms) != 1 {
		t.Errorf("the benchmark has the VMs %v", vms)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for said.Scan() {
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it says that it has come to its end")
	}
	for _, vm := range benchVMs(t, c) {
		t.Errorf("%s is left", vm.ID)
		remove(t, c, vm.ID)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a report: %v", err)
	}
}

// benchAll returns a quick run of all benchmarks, which ends with the test.
func benchAll(t *testing.T, dir string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, install.program, "bench", "all", "--quick", "--out", dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd
}

// benchVMs returns the VMs that benchmarks have made and not deleted.
func benchVMs(t *testing.T, c *client.Client) []api.VM {
	t.Helper()
	list, err := c.VMs(deadline(t), client.Query{Search: "bench"})
	if err != nil {
		t.Fatal(err)
	}
	return list.VMs
}

// svgElements returns how many elements of each name a picture has.
func svgElements(t *testing.T, picture []byte) map[string]int {
	t.Helper()
	elements := map[string]int{}
	for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok {
			elements[start.Name.Local]++
		}
	}
}
