// Package agent is what runs inside a guest and does there what the host asks
// for: it takes the guest's identity, runs commands, and reads, writes and
// watches files. It runs as root, from before init until after it.
//
// It sleeps unless the host speaks to it or a command does: it polls nothing.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/coppice-vm/coppice/guest/wire"
)

// usableDeadline is how long commands and files wait for the guest's init. A
// guest that is not usable by then needs somebody to look at it all the more.
const usableDeadline = time.Minute

// A Config says what an agent acts on. [Run] has the one for a guest; tests
// have others, so that they leave the machine they run on alone.
type Config struct {
	// Root is the directory whose etc and run hold the guest's configuration.
	Root string
	// System is the guest's kernel and init.
	System System
	// Cgroup is a directory of a cgroup v2 hierarchy, made when it is first
	// needed, that commands get their groups in. They go without where it
	// cannot be made.
	Cgroup string
	// Usable returns when commands and files may be let in, or ctx ends.
	Usable func(ctx context.Context) error
	// Settle is how long the agent waits before it makes a new identity last.
	Settle time.Duration
	// Ready is called when the first identity has been taken.
	Ready func()
	// Log takes lines for whoever looks after the guest.
	Log func(format string, args ...any)
}

// An Agent serves one guest.
type Agent struct {
	Config
	usable chan struct{} // closed when the guest is
	ready  sync.Once
	cgroup cgroups
	chores sync.WaitGroup // that Serve ends after

	self      identity // who the guest is
	terminals terminals
}

// New returns an agent that nobody has connected to.
func New(config Config) *Agent {
	return &Agent{Config: config, usable: make(chan struct{}), cgroup: cgroups{dir: config.Cgroup}}
}

// Serve serves the hosts that connect to port, one after the other, until ctx
// ends, whose error it returns then. It closes port. Commands that run when it
// returns are left to themselves; terminals are hung up. It is called once.
func (a *Agent) Serve(ctx context.Context, port wire.Port) error {
	defer a.chores.Wait()
	defer a.terminals.hangUp()
	defer context.AfterFunc(ctx, func() { port.Close() })()
	defer port.Close()
	a.chores.Go(func() { a.awaitUsable(ctx) })
	listener := wire.NewListener(port)
	for {
		conn, err := listener.Accept()
		if err == nil {
			err = a.serve(ctx, conn)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func (a *Agent) awaitUsable(ctx context.Context) {
	defer close(a.usable)
	ctx, cancel := context.WithTimeout(ctx, usableDeadline)
	defer cancel()
	if err := a.Usable(ctx); err != nil {
		a.Log("commands are let in though the system is not up: %v", err)
	}
}

// serve serves one connection until there is another, or none.
func (a *Agent) serve(ctx context.Context, conn *wire.Conn) error {
	mux, err := wire.Server(conn)
	if err != nil {
		return err
	}
	s := &session{
		agent: a, mux: mux,
		commands: map[uint32]*command{}, listeners: map[uint32]*listener{}, attached: map[uint32]attachment{},
	}
	for {
		stream, err := mux.AcceptStream()
		if err != nil {
			mux.Close() // returns when nothing uses conn any more
			return nil
		}
		go s.serve(ctx, stream)
	}
}

// A session is what one host has asked for, since it connected.
type session struct {
	agent      *Agent
	mux        *yamux.Session
	identified atomic.Bool

	mu        sync.Mutex
	commands  map[uint32]*command   // by the number of their stream
	listeners map[uint32]*listener  // likewise
	attached  map[uint32]attachment // to terminals, likewise
}

// lost reports whether the connection broke, as opposed to a stream having been closed by the host.
func (s *session) lost() bool { return s.mux.IsClosed() }

// An exchange is one request and what belongs to it.
type exchange struct {
	*session
	stream *yamux.Stream
	frames *wire.Reader
	wire.Request
}

func (s *session) serve(ctx context.Context, stream *yamux.Stream) {
	defer stream.Close()
	x := &exchange{session: s, stream: stream, frames: wire.NewReader(stream)}
	if err := x.serve(ctx); err != nil {
		wire.WriteJSON(stream, wire.Fail, wire.NewError(err)) // the host may be gone
	}
}

func (x *exchange) serve(ctx context.Context) error {
	frame, err := x.frames.Next(wire.MaxRequest)
	if err != nil {
		return err
	}
	if frame.Kind != wire.Head {
		return errors.New("the first frame is no request")
	}
	if err := json.Unmarshal(frame.Content, &x.Request); err != nil {
		return err
	}
	if x.Op == wire.OpIdentify && x.Identity != nil {
		return x.identify(ctx)
	}
	if !x.identified.Load() {
		return errors.New("the guest does not know who it is yet")
	}
	switch x.Op {
	case wire.OpShutdown:
		return x.shutdown()
	case wire.OpClock:
		return x.clock()
	}
	select {
	case <-x.agent.usable:
	case <-x.mux.CloseChan():
		return nil
	}
	switch {
	case x.Op == wire.OpExec && x.Exec != nil:
		return x.exec()
	case x.Op == wire.OpKill:
		return x.kill()
	case x.Op == wire.OpSignalCommand:
		return x.signal()
	case x.Op == wire.OpOpen && x.File != nil:
		return x.open()
	case x.Op == wire.OpWrite && x.File != nil:
		return x.write()
	case x.Op == wire.OpWatch && x.File != nil:
		return x.watch()
	case x.Op == wire.OpDial && x.Socket != nil:
		return x.dial()
	case x.Op == wire.OpListen && x.Socket != nil:
		return x.listen()
	case x.Op == wire.OpAccept:
		return x.accept()
	case x.Terminal != nil:
		return x.onTerminal()
	}
	return fmt.Errorf("the agent does not know how to %s", x.Op)
}

func (x *exchange) answer(v any) error { return wire.WriteJSON(x.stream, wire.Head, v) }

func (x *exchange) shutdown() error {
	x.agent.self.mu.Lock()
	x.agent.keepHostKeys() // there may not have been time for it yet
	x.agent.self.mu.Unlock()
	if err := x.agent.System.PowerOff(); err != nil {
		return err
	}
	return x.answer(wire.Done{})
}
