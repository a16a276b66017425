package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coppice-vm/coppice"
)

// greetDeadline bounds how long the agent of a guest that runs already may take to
// take up a connection, however many wait for that.
const greetDeadline = 30 * time.Second

var errMute = coppice.Errorf(coppice.CodeUnavailable,
	"the guest's agent does not answer: the guest may be overloaded, or have ended it. Try again; if that does not help, stop and start the VM")

// session returns the session of a run, and opens it if that is still to be done. Of a
// run that ends meanwhile it says that the VM does not run.
func (m *Manager) session(ctx context.Context, vm *coppice.VM, e entry) (coppice.Session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, greetDeadline, errMute)
	defer cancel()
	session, err := e.session.get(ctx, func(ctx context.Context) (coppice.Session, error) {
		return m.greet(ctx, e.run, identity(vm, false))
	})
	if errors.Is(err, coppice.ErrNoRun) { // by whatever is in flight, or it will be followed
		return nil, asError(fmt.Errorf("%w: %v", coppice.ErrNoRun, err))
	}
	return session, err
}

// leadsToRunning reports whether a VM may well run once verb is done. Idle is
// the verb of a row being settled.
func leadsToRunning(verb coppice.Verb) bool {
	switch verb {
	case coppice.Idle, coppice.Restore, coppice.Start, coppice.Resume, coppice.Reboot, coppice.Resize:
		return true
	}
	return false
}

// Await returns how the VM's run ended, when it has ended and the VM's state
// says so. For a VM that does not run it returns its state at once.
func (m *Manager) Await(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.Exit, error) {
	vm, err := m.present(ctx, account, id)
	if err != nil {
		return coppice.Exit{}, err
	}
	m.flightOver(ctx, id)
	m.mu.Lock()
	run, gone := m.entry(id).run, m.entry(id).gone
	m.mu.Unlock()
	if run == nil {
		return coppice.Exit{Kind: coppice.ExitKind(vm.State), Detail: vm.Reason}, ctx.Err()
	}
	exit, err := run.Wait(ctx)
	if err != nil {
		return exit, err
	}
	select {
	case <-gone:
		m.flightOver(ctx, id) // the flight that let go of the run writes down the state
		return exit, ctx.Err()
	case <-ctx.Done():
		return exit, ctx.Err()
	}
}

// A session is a connection to an agent that is opened when first needed.
type session struct {
	turn chan struct{} // holds a token while nobody is using open
	open coppice.Session
}

func newSession() *session {
	s := &session{turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// get returns the open session, or opens one by connect. One caller connects
// for all that wait.
func (s *session) get(ctx context.Context, connect func(context.Context) (coppice.Session, error)) (coppice.Session, error) {
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if s.open == nil {
		opened, err := connect(ctx)
		if err != nil {
			return nil, err
		}
		s.open = opened
	}
	return s.open, nil
}

// close closes the session for good, if one is open. Whoever is connecting is
// waited for; the end of the run or of the daemon ends that.
func (s *session) close() {
	<-s.turn
	if s.open != nil {
		s.open.Close()
		s.open = nil
	}
	s.turn <- struct{}{}
}
