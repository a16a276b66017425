package lifecycle

import "github.com/coppice-vm/coppice"

// A Step is what a verb makes of a VM's state.
type Step struct {
	Works coppice.State // when it succeeds
	Fails coppice.State // when it does not
}

// A Verdict says whether a verb may be done.
type Verdict int

const (
	Refuse  Verdict = iota // not from this state
	Do                     // as the Step says
	Already                // nothing to do: the VM is where the verb leads
)

// table holds every step there is: what is not in it is refused.
var table = map[coppice.Verb]map[coppice.State]Step{
	coppice.Restore: {
		coppice.Absent: {Works: coppice.Running, Fails: coppice.Absent},
	},
	coppice.Start: {
		coppice.Stopped: {Works: coppice.Running, Fails: coppice.Stopped},
	},
	coppice.Resume: {
		coppice.Suspended: {Works: coppice.Running, Fails: coppice.Suspended},
	},
	coppice.Suspend: {
		coppice.Running: {Works: coppice.Suspended, Fails: coppice.Running},
	},
	coppice.Cut: {
		coppice.Running:   {Works: coppice.Running, Fails: coppice.Running},
		coppice.Suspended: {Works: coppice.Suspended, Fails: coppice.Suspended},
		coppice.Stopped:   {Works: coppice.Stopped, Fails: coppice.Stopped},
	},
	coppice.Stop: {
		coppice.Running:   {Works: coppice.Stopped, Fails: coppice.Failed},
		coppice.Suspended: {Works: coppice.Stopped, Fails: coppice.Failed},
	},
	coppice.Kill: {
		coppice.Running:   {Works: coppice.Stopped, Fails: coppice.Failed},
		coppice.Suspended: {Works: coppice.Stopped, Fails: coppice.Failed},
		coppice.Failed:    {Works: coppice.Stopped, Fails: coppice.Failed},
	},
	coppice.Reboot: {
		coppice.Running: {Works: coppice.Running, Fails: coppice.Stopped},
	},
	coppice.Resize: {
		coppice.Stopped:   {Works: coppice.Stopped, Fails: coppice.Stopped},
		coppice.Running:   {Works: coppice.Running, Fails: coppice.Stopped},
		coppice.Suspended: {Works: coppice.Stopped, Fails: coppice.Suspended},
	},
	coppice.Delete: {
		coppice.Running:   {Works: coppice.Absent, Fails: coppice.Failed},
		coppice.Suspended: {Works: coppice.Absent, Fails: coppice.Failed},
		coppice.Stopped:   {Works: coppice.Absent, Fails: coppice.Failed},
		coppice.Failed:    {Works: coppice.Absent, Fails: coppice.Failed},
	},
}

// goals are the states in which a verb has nothing left to do. Verbs that do
// something even then (a capture, a reboot, a resize) are not here.
var goals = map[coppice.Verb]coppice.State{
	coppice.Start:   coppice.Running,
	coppice.Resume:  coppice.Running,
	coppice.Suspend: coppice.Suspended,
	coppice.Stop:    coppice.Stopped,
	coppice.Kill:    coppice.Stopped,
	coppice.Delete:  coppice.Absent,
}

// Plan says what verb may do to a VM in state when nothing else is in flight.
func Plan(state coppice.State, verb coppice.Verb) (Step, Verdict) {
	if step, ok := table[verb][state]; ok {
		return step, Do
	}
	if goal, ok := goals[verb]; ok && goal == state {
		return Step{Works: state, Fails: state}, Already
	}
	return Step{}, Refuse
}

// Evidence is what the host shows of a VM whose row a daemon left behind.
type Evidence int

const (
	NoRun    Evidence = iota // there is no process
	Rebooted                 // nor can there be: the host has booted since
	Alive                    // there is a process and it answers
	Silent                   // there is a process that does not answer
)

// An Action is what settling a row takes.
type Action int

const (
	Rest    Action = iota // nothing: the row is right
	Adopt                 // go on with the process
	Discard               // end the process, which should not be there
	Redo                  // do the verb in flight again, from its beginning
	Remove                // remove the VM: its creation was not acknowledged
)

// Settle says what a row found after a crash becomes, and how. A verb that was
// in flight is done again where that loses nothing; the rest goes back to
// where the verb began. The state is what the row says once that is done; for
// Redo it is the state the verb begins from.
func Settle(state coppice.State, verb coppice.Verb, seen Evidence) (coppice.State, Action) {
	switch verb {
	case coppice.Restore:
		return coppice.Absent, Remove
	case coppice.Start, coppice.Resume, coppice.Kill, coppice.Reboot, coppice.Resize, coppice.Delete:
		return state, Redo
	case coppice.Stop:
		if state == coppice.Running && seen != Alive {
			return coppice.Stopped, Discard // nobody is left to be asked
		}
		return state, Redo
	}
	// Idle, Cut and Suspend: the VM is to be as if nothing had been in flight.
	switch {
	case state == coppice.Running:
		switch seen {
		case Alive:
			return coppice.Running, Adopt
		case Rebooted:
			return coppice.Stopped, Rest
		}
		return coppice.Failed, Rest
	case state == coppice.Failed:
		return coppice.Failed, Rest
	case seen == Alive || seen == Silent:
		return state, Discard
	}
	return state, Rest
}
