//go:build failpoints

package sweep_test

import (
	"context"
	"errors"
	"flag"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coppice-vm/coppice/internal/failpoint"
)

var (
	abreast = flag.Int("abreast", 8, "how many worlds there are at a time")
	all     = flag.Bool("all", false, "have every fault befall every step, also where that says nothing new")
)

// tries is how often a passage is gone for. Where nobody waits for what is done,
// it depends on who is quicker whether there is a passage.
const tries = 3

// A sweep has faults befall daemons, one in each world.
type sweep struct {
	*testing.T
	*cradle
	passed         map[string]bool // points
	ran            int             // scenarios
	passages, lost int
}

// over plays every scenario with each of the faults that are wanted at each step,
// which comes after another, and has try look at it.
func (s *sweep) over(wanted func(sc scenario, step, last failpoint.Step) []failpoint.Fault, try func(context.Context, scenario, failpoint.Passage, failpoint.Fault) error) {
	s.passed = map[string]bool{}
	turns := make(chan struct{}, *abreast)
	for _, sc := range scenarios {
		s.Run(sc.name, func(t *testing.T) {
			s.ran++
			trail, err := s.trail(t.Context(), sc)
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			var wg sync.WaitGroup
			var last failpoint.Step
			for _, step := range trail {
				faults := wanted(sc, step, last)
				s.passed[step.Point], last = true, step
				for _, fault := range faults {
					turns <- struct{}{}
					wg.Go(func() {
						defer func() { <-turns }()
						var err error
						for range tries {
							if err = try(t.Context(), sc, step.Passage, fault); !errors.Is(err, errMissed) {
								break
							}
						}
						mu.Lock()
						defer mu.Unlock()
						s.passages++
						switch {
						case errors.Is(err, errMissed) && step.Stage == failpoint.Looking: // nobody counts how often a daemon looks
						case errors.Is(err, errMissed):
							s.lost++
							t.Logf("%v at %s: %v", fault, step.Passage, err)
						case err != nil:
							t.Errorf("%v at %s: %v", fault, step.Passage, err)
						}
					})
				}
			}
			wg.Wait()
		})
	}
	if s.lost*100 > s.passages {
		s.Errorf("%d of %d passages were not made again", s.lost, s.passages)
	}
}

// TestKilledAtEveryPoint has the daemon die at every point that every scenario
// passes. The next daemon must bring the host in order, with every VM in a state
// that the table allows, what is promised of its disk and memory kept, what was
// acknowledged done, and must do what was asked when it is asked again.
func TestKilledAtEveryPoint(t *testing.T) {
	s := sweep{T: t, cradle: newCradle(t)}
	s.over(func(_ scenario, step, last failpoint.Step) []failpoint.Fault {
		// To die before a look, or between two points with nothing in between, is
		// to die at what came before.
		again := step.Stage == failpoint.Looking || step.Stage == failpoint.Doing && last.Stage == failpoint.Done && s.passed[step.Point]
		if again && !*all {
			return nil
		}
		return []failpoint.Fault{failpoint.Kill}
	}, s.killed)
	points := slices.DeleteFunc(failpoint.List(), func(p string) bool { return strings.HasPrefix(p, hostPoints) })
	for _, point := range points {
		if s.ran == len(scenarios) && !s.passed[point] {
			t.Errorf("no scenario passes the point %s", point)
		}
	}
	t.Logf("points: %d of %d, in %d scenarios; the daemon died in %d passages", len(s.passed), len(points), s.ran, s.passages)
}
