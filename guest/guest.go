// Package guest talks to the agents in VMs: it runs commands, moves files, and
// tells a guest who it is after a start or a fork.
//
// A guest is taken for an enemy. What it says is limited in size before it is
// kept and in time before it is waited for, and is never more than data.
package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

const (
	// callsAtOnce is how many calls of a session may be in flight. More wait.
	// Each may cost the host as much memory as a stream of the session holds.
	callsAtOnce = wire.Streams / 8
	// socketsAtOnce is how many connections and listeners there may be beside
	// these: they may last, and shall not keep a command from being run. The
	// rest of the streams is for what belongs to a call, like its signals.
	socketsAtOnce = wire.Streams / 4
	// reconnectDeadline bounds the wait for an agent that was there before.
	reconnectDeadline = 30 * time.Second
)

// A Guest is a [coppice.Guest] over virtio-serial ports.
type Guest struct{ log *slog.Logger }

// New returns a guest that logs what the guests complain about.
func New(log *slog.Logger) *Guest { return &Guest{log} }

// Connect implements [coppice.Guest]. An error of dial that is a
// [coppice.ErrNoRun] ends it; after any other one it tries again. When it
// returns, the guest's clock is right.
func (g *Guest) Connect(ctx context.Context, dial func(context.Context) (net.Conn, error), id coppice.GuestIdentity) (coppice.Session, error) {
	s := &session{
		log:     g.log.With("vm", id.VM),
		dial:    dial,
		id:      id,
		calls:   make(chan struct{}, callsAtOnce),
		sockets: make(chan struct{}, socketsAtOnce),
		turn:    make(chan struct{}, 1),
		closed:  make(chan struct{}),
	}
	link, err := s.connect(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("connect to the guest of VM %q: %w", id.VM, err)
	}
	s.link = link
	s.id.Fresh = false // it knows by now
	return s, nil
}

// A session is a [coppice.Session].
type session struct {
	log  *slog.Logger
	dial func(context.Context) (net.Conn, error)
	id   coppice.GuestIdentity

	calls   chan struct{} // has an element for each call in flight
	sockets chan struct{} // likewise, for those that connect or listen
	turn    chan struct{} // has an element while somebody uses link
	link    *link         // the last one; it may be broken

	close  sync.Once
	closed chan struct{}
}

// errClosed is what calls of a closed session fail with.
var errClosed = fmt.Errorf("the session is closed: %w", coppice.ErrGuestGone)

// Close implements [coppice.Session]. Closing it again does nothing.
func (s *session) Close() error {
	s.close.Do(func() {
		close(s.closed)
		s.turn <- struct{}{} // held by a connect, which closed ends
		s.link.close()
		<-s.turn
	})
	return nil
}

// errLost is what calls fail with for which no link came about in time.
var errLost = fmt.Errorf("%w, and it does not come back", coppice.ErrGuestGone)

// connected returns the session's link, a new one if the last is broken. One
// caller connects for all that wait, none longer than if it were alone.
func (s *session) connected(ctx context.Context) (*link, error) {
	trying, cancel := context.WithTimeoutCause(ctx, reconnectDeadline, errLost)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-s.closed:
		return nil, errClosed
	case <-trying.Done():
		return nil, cmp.Or(ctx.Err(), context.Cause(trying))
	}
	select {
	case <-s.closed:
		return nil, errClosed
	default:
	}
	if !s.link.broken() {
		return s.link, nil
	}
	s.link.close()
	link, err := s.connect(trying, s.id)
	if err != nil {
		return nil, cmp.Or(ctx.Err(), fmt.Errorf("%w: %w", errLost, err))
	}
	s.link = link
	return link, nil
}

// connect makes a link, however often that fails, until ctx ends or the
// session is closed.
func (s *session) connect(ctx context.Context, id coppice.GuestIdentity) (*link, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.closed:
			cancel(errClosed)
		case <-ctx.Done():
		}
	}()
	pause, patience := 5*time.Millisecond, time.Second
	for {
		link, err := s.try(ctx, id, patience)
		switch {
		case err == nil:
			return link, nil
		case ctx.Err() != nil:
			return nil, errors.Join(context.Cause(ctx), err)
		case errors.Is(err, coppice.ErrNoRun), errors.As(err, new(*wire.Error)):
			return nil, err // asking again gives the same answer
		}
		s.log.Debug("the guest does not answer yet", "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause, patience = min(2*pause, 500*time.Millisecond), min(2*patience, 30*time.Second)
	}
}
