package lifecycle

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
)

// The picture in docs/CONCEPTS.md has an arrow for each step of the table, and
// no others but those that are no step.
func TestPicture(t *testing.T) {
	states := map[string]coppice.State{
		"[*]": coppice.Absent, "running": coppice.Running, "suspended": coppice.Suspended, "stopped": coppice.Stopped, "lost": coppice.Failed,
	}
	verbs := map[string]coppice.Verb{
		"create": coppice.Restore, "start": coppice.Start, "wake": coppice.Resume, "suspend": coppice.Suspend, "fork": coppice.Cut, "snapshot": coppice.Cut,
		"stop": coppice.Stop, "kill": coppice.Kill, "reboot": coppice.Reboot, "resize": coppice.Resize, "delete": coppice.Delete,
	}
	type arrow struct {
		from coppice.State
		verb coppice.Verb
		to   coppice.State
	}
	missing := map[arrow]bool{}
	for verb, steps := range table {
		for from, step := range steps {
			missing[arrow{from, verb, step.Works}] = true
		}
	}
	noSteps := []string{
		"running --> lost: crash",
		"lost --> running: start", // a kill, and a start
	}
	page, err := os.ReadFile("../docs/CONCEPTS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, drawn := range regexp.MustCompile(`(?m)^ +(\S+) --> (\S+): (.+)$`).FindAllStringSubmatch(string(page), -1) {
		if slices.Contains(noSteps, strings.TrimSpace(drawn[0])) {
			continue
		}
		for _, word := range strings.Split(drawn[3], ", ") {
			step, ok := table[verbs[word]][states[drawn[1]]]
			if !ok || step.Works != states[drawn[2]] {
				t.Errorf("the picture has a %s from %s to %s, the table has not", word, drawn[1], drawn[2])
			}
			delete(missing, arrow{states[drawn[1]], verbs[word], step.Works})
		}
	}
	for a := range missing {
		t.Errorf("the picture lacks a %s from %s to %s", a.verb, a.from, a.to)
	}
}
