package progress

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	s := New(&out)
	clock := time.Unix(0, 0)
	s.now = func() time.Time { return clock }

	broken := errors.New("no network")
	s.Do("packages", func(*Step) error { return nil })
	s.Do("base image", func(step *Step) error {
		clock = clock.Add(1500 * time.Millisecond)
		step.Note("unpacking %d packages", 7)
		clock = clock.Add(time.Minute)
		step.Result("image-1")
		return nil
	})
	err := s.Do("daemon", func(step *Step) error { step.Result("pid 7"); return broken })
	if !errors.Is(err, broken) || err.Error() != "daemon: no network" {
		t.Errorf("Do returned %v", err)
	}
	want := `packages          0.0 s  
base image        1.5 s  unpacking 7 packages ...
base image     1:01 min  image-1
daemon            0.0 s  failed
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTerminal(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out bytes.Buffer
	s := New(&out)
	s.moves = true
	s.Do("base image", func(step *Step) error {
		step.Note("unpacking")
		step.Result("image-1")
		return nil
	})
	got := out.String()
	if !strings.Contains(got, "\r") || !strings.Contains(got, "base image: unpacking") {
		t.Errorf("the line does not move: %q", got)
	}
	if !strings.HasSuffix(got, " s  image-1\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("want one line in the end, got %q", got)
	}
}
