package agent

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

const (
	// endedKept and endedFor are how many terminals that have ended keep their screens, and how long.
	endedKept = 16
	endedFor  = 10 * time.Minute
	// namesKept is of how many more it is known that there were such.
	namesKept = 64
)

// terminals are those of a guest.
type terminals struct {
	mu      sync.Mutex
	all     []*terminal // the oldest first
	made    int
	expired []string // ids
}

// openTerminal starts a terminal of u to which v is attached. One of u's that has
// ended makes room for another of its id.
func (a *Agent) openTerminal(u user, id string, spec *wire.NewTerminal, v *viewer) (*terminal, error) {
	all := &a.terminals
	all.mu.Lock()
	defer all.mu.Unlock()
	all.expire(a.System.Now())
	for id == "" {
		all.made++
		if name := "pty-" + strconv.Itoa(all.made); all.find(name) == nil {
			id = name
		}
	}
	running := 0
	for _, t := range all.all {
		if t.running() {
			running++
		}
	}
	there := all.find(id)
	switch {
	case !coppice.ValidTerminalID(id):
		return nil, fmt.Errorf("a terminal cannot have the id %.100q: %w", id, fs.ErrInvalid)
	case there != nil && there.running():
		return nil, fmt.Errorf("%w: %q", coppice.ErrTerminalExists, id)
	case there != nil && !u.mayUse(there):
		return nil, fmt.Errorf("%w: %q", coppice.ErrTerminalUser, id)
	case running >= coppice.MaxTerminals, spec.Most > 0 && running >= spec.Most:
		return nil, fmt.Errorf("%w: %d terminals run", coppice.ErrTooMany, running)
	}
	t, err := a.startTerminal(u, id, spec, v)
	if err != nil {
		return nil, err
	}
	all.remove(there)
	all.all = append(all.all, t)
	return t, nil
}

// find returns the terminal of an id, or nil. The caller holds all.mu.
func (all *terminals) find(id string) *terminal {
	for _, t := range all.all {
		if t.id == id {
			return t
		}
	}
	return nil
}

// remove forgets a terminal. The caller holds all.mu.
func (all *terminals) remove(t *terminal) {
	all.all = slices.DeleteFunc(all.all, func(other *terminal) bool { return other == t })
}

// expire forgets those that ended long ago, or before many others. The caller holds all.mu.
func (all *terminals) expire(now time.Time) {
	kept := 0
	for _, t := range slices.Backward(slices.Clone(all.all)) {
		ended := t.info().Ended
		if ended == nil {
			continue
		}
		if kept++; kept > endedKept || now.Sub(time.Unix(0, ended.At)) > endedFor {
			all.remove(t)
			all.expired = append(all.expired, t.id)
		}
	}
	all.expired = all.expired[max(0, len(all.expired)-namesKept):]
}

// terminal returns the terminal that u means.
func (a *Agent) terminal(u user, id string) (*terminal, error) {
	all := &a.terminals
	all.mu.Lock()
	defer all.mu.Unlock()
	all.expire(a.System.Now())
	t := all.find(id)
	switch {
	case t != nil && !u.mayUse(t):
		return nil, fmt.Errorf("%w: %q", coppice.ErrTerminalUser, id)
	case t != nil:
		return t, nil
	case slices.Contains(all.expired, id):
		return nil, fmt.Errorf("%w: %q", coppice.ErrTerminalExpired, id)
	}
	return nil, fmt.Errorf("%w: %.100q", coppice.ErrNoTerminal, id)
}

// mayUse reports whether the user may use a terminal.
func (u user) mayUse(t *terminal) bool { return u.uid == 0 || u.uid == t.user.uid }

// list returns the terminals that u may use.
func (a *Agent) list(u user) (infos []wire.TerminalInfo) {
	all := &a.terminals
	all.mu.Lock()
	defer all.mu.Unlock()
	all.expire(a.System.Now())
	for _, t := range all.all {
		if u.mayUse(t) {
			infos = append(infos, t.info())
		}
	}
	return infos
}

// closeTerminal ends a terminal, forgets it, and returns what it was.
func (a *Agent) closeTerminal(t *terminal) wire.TerminalInfo {
	t.hangUp()
	a.terminals.mu.Lock()
	defer a.terminals.mu.Unlock()
	a.terminals.remove(t)
	return t.info()
}

// hangUp ends all terminals.
func (all *terminals) hangUp() {
	all.mu.Lock()
	defer all.mu.Unlock()
	var ends sync.WaitGroup
	for _, t := range all.all {
		ends.Go(t.hangUp)
	}
	ends.Wait()
}

// running reports whether the program has not ended, as who is attached is told.
func (t *terminal) running() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended == nil
}
