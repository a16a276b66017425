// Package progress tells a person what a command is doing: one line per step,
// with the time it takes, which moves if it is shown on a terminal.
package progress

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Steps shows the steps of a command, one after the other.
type Steps struct {
	w     io.Writer
	moves bool
	now   func() time.Time
}

// New returns Steps that are shown on w.
func New(w io.Writer) *Steps {
	f, ok := w.(*os.File)
	return &Steps{w: w, moves: ok && term.IsTerminal(int(f.Fd())), now: time.Now}
}

// Do runs one step. When it has ended, a line says how long it took and what
// came of it: what [Step.Result] was told, or that it failed. The error, if there
// is one, begins with the step's name.
func (s *Steps) Do(name string, run func(*Step) error) error {
	step := &Step{steps: s, name: name, start: s.now()}
	if s.moves {
		step.bar = progressbar.NewOptions64(-1,
			progressbar.OptionSetWriter(s.w),
			progressbar.OptionSetDescription(name),
			progressbar.OptionSpinnerType(14),
			progressbar.OptionSetElapsedTime(true),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetRenderBlankState(true),
		)
	}
	err := run(step)
	if step.bar != nil {
		step.bar.Finish()
	}
	if err != nil {
		step.result = "failed"
		err = fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(s.w, "%-14s %8s  %s\n", name, step.elapsed(), step.result)
	return err
}

// A Step is a step that is running. Its methods may not be called after it.
type Step struct {
	steps  *Steps
	name   string
	start  time.Time
	result string
	bar    *progressbar.ProgressBar // nil unless the line moves
}

// Note says what the step is doing now.
func (s *Step) Note(format string, args ...any) {
	note := fmt.Sprintf(format, args...)
	if s.bar != nil {
		s.bar.Describe(s.name + ": " + note)
		return
	}
	fmt.Fprintf(s.steps.w, "%-14s %8s  %s ...\n", s.name, s.elapsed(), note)
}

// Detail is a Note too fleeting for lines that stay: it is shown only if the line moves.
func (s *Step) Detail(format string, args ...any) {
	if s.bar != nil {
		s.Note(format, args...)
	}
}

// Result sets what the step's last line says.
func (s *Step) Result(format string, args ...any) {
	s.result = fmt.Sprintf(format, args...)
}

func (s *Step) elapsed() string {
	d := s.steps.now().Sub(s.start)
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d:%02d min", int(d.Minutes()), int(d.Seconds())%60)
}
