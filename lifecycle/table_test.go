package lifecycle

import (
	"testing"

	"github.com/coppice-vm/coppice"
)

// The machine cell by cell: every verb from every state. "-" is refused, "="
// has nothing to do, "works/fails" is done.
func TestPlan(t *testing.T) {
	columns := []coppice.State{coppice.Absent, coppice.Running, coppice.Suspended, coppice.Stopped, coppice.Failed}
	cells := map[coppice.Verb][5]string{
		//                absent            running            suspended            stopped           failed
		coppice.Restore: {"running/absent", "-", "-", "-", "-"},
		coppice.Start:   {"-", "=", "-", "running/stopped", "-"},
		coppice.Resume:  {"-", "=", "running/suspended", "-", "-"},
		coppice.Suspend: {"-", "suspended/running", "=", "-", "-"},
		coppice.Cut:     {"-", "running/running", "suspended/suspended", "stopped/stopped", "-"},
		coppice.Stop:    {"-", "stopped/failed", "stopped/failed", "=", "-"},
		coppice.Kill:    {"-", "stopped/failed", "stopped/failed", "=", "stopped/failed"},
		coppice.Reboot:  {"-", "running/stopped", "-", "-", "-"},
		coppice.Resize:  {"-", "running/stopped", "stopped/suspended", "stopped/stopped", "-"},
		coppice.Delete:  {"=", "absent/failed", "absent/failed", "absent/failed", "absent/failed"},
	}
	if len(columns) != len(coppice.States) || len(cells) != len(coppice.Verbs) {
		t.Fatalf("the test knows %d states and %d verbs, there are %d and %d",
			len(columns), len(cells), len(coppice.States), len(coppice.Verbs))
	}
	for verb, row := range cells {
		for i, want := range row {
			state := columns[i]
			step, verdict := Plan(state, verb)
			got := map[Verdict]string{Refuse: "-", Already: "="}[verdict]
			if verdict == Do {
				got = string(step.Works) + "/" + string(step.Fails)
			}
			if got != want {
				t.Errorf("%s from %s: %s, want %s", verb, state, got, want)
			}
		}
	}
}

// No state is a dead end, and delete is never refused.
func TestEveryStateHasAnExit(t *testing.T) {
	for _, state := range coppice.States {
		if _, verdict := Plan(state, coppice.Delete); verdict == Refuse {
			t.Errorf("delete is refused from %s", state)
		}
		if state == coppice.Absent {
			continue
		}
		// What works leads on from here to running, in at most three steps.
		reached := map[coppice.State]bool{state: true}
		for range 3 {
			for from := range reached {
				for _, verb := range coppice.Verbs {
					if step, verdict := Plan(from, verb); verdict == Do {
						reached[step.Works] = true
					}
				}
			}
		}
		if !reached[coppice.Running] {
			t.Errorf("no way leads from %s to running", state)
		}
	}
}

// Every row a crash can leave behind, under everything the host can show.
func TestSettle(t *testing.T) {
	type outcome struct {
		state  coppice.State
		action Action
	}
	evidence := []Evidence{NoRun, Rebooted, Alive, Silent}
	all := func(s coppice.State, a Action) [4]outcome {
		o := outcome{s, a}
		return [4]outcome{o, o, o, o}
	}
	surplus := func(s coppice.State) [4]outcome {
		return [4]outcome{{s, Rest}, {s, Rest}, {s, Discard}, {s, Discard}}
	}
	lives := [4]outcome{{coppice.Failed, Rest}, {coppice.Stopped, Rest}, {coppice.Running, Adopt}, {coppice.Failed, Rest}}
	goingDown := [4]outcome{{coppice.Stopped, Discard}, {coppice.Stopped, Discard}, {coppice.Running, Redo}, {coppice.Stopped, Discard}}
	rows := map[coppice.Verb]map[coppice.State][4]outcome{
		coppice.Idle: {
			coppice.Running:   lives,
			coppice.Suspended: surplus(coppice.Suspended),
			coppice.Stopped:   surplus(coppice.Stopped),
			coppice.Failed:    all(coppice.Failed, Rest),
		},
		coppice.Restore: {coppice.Absent: all(coppice.Absent, Remove)},
		coppice.Start:   {coppice.Stopped: all(coppice.Stopped, Redo)},
		coppice.Resume:  {coppice.Suspended: all(coppice.Suspended, Redo)},
		coppice.Suspend: {coppice.Running: lives},
		coppice.Cut: {
			coppice.Running:   lives,
			coppice.Suspended: surplus(coppice.Suspended),
			coppice.Stopped:   surplus(coppice.Stopped),
		},
		coppice.Stop: {coppice.Running: goingDown, coppice.Suspended: all(coppice.Suspended, Redo)},
		coppice.Kill: {
			coppice.Running:   all(coppice.Running, Redo),
			coppice.Suspended: all(coppice.Suspended, Redo),
			coppice.Failed:    all(coppice.Failed, Redo),
		},
		coppice.Reboot: {coppice.Running: all(coppice.Running, Redo)},
		coppice.Resize: {
			coppice.Running:   all(coppice.Running, Redo),
			coppice.Suspended: all(coppice.Suspended, Redo),
			coppice.Stopped:   all(coppice.Stopped, Redo),
		},
		coppice.Delete: {
			coppice.Running:   all(coppice.Running, Redo),
			coppice.Suspended: all(coppice.Suspended, Redo),
			coppice.Stopped:   all(coppice.Stopped, Redo),
			coppice.Failed:    all(coppice.Failed, Redo),
		},
	}
	for _, verb := range append([]coppice.Verb{coppice.Idle}, coppice.Verbs...) {
		for _, state := range coppice.States {
			want, ok := rows[verb][state]
			if _, verdict := Plan(state, verb); ok != (verdict == Do || verb == coppice.Idle && state != coppice.Absent) {
				t.Errorf("the test and the table disagree on whether a row can be (%s, %q)", state, verb)
			}
			if !ok {
				continue
			}
			for i, seen := range evidence {
				s, a := Settle(state, verb, seen)
				if (outcome{s, a}) != want[i] {
					t.Errorf("(%s, %q) seen %d: %s by action %d, want %s by %d", state, verb, seen, s, a, want[i].state, want[i].action)
				}
			}
		}
	}
}
