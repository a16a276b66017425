package guest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

const (
	// pulse is how often a guest is asked for a sign of life while a call is in
	// flight. It answers within what a session waits for a write, or is gone.
	pulse = 20 * time.Second
	// identifyDeadline bounds what a guest does to take an identity: its hooks
	// and the growth of its disk.
	identifyDeadline = 2 * time.Minute
)

// A link is one connection to an agent that has taken its identity.
type link struct {
	conn    net.Conn
	mux     *yamux.Session
	calls   atomic.Int64 // in flight
	workers sync.WaitGroup
}

// try makes one attempt at a link. patience is how long the guest may take to say a word.
func (s *session) try(ctx context.Context, id coppice.GuestIdentity, patience time.Duration) (*link, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	l, err := shakeHands(ctx, conn, patience)
	if err != nil {
		conn.Close()
		return nil, err
	}
	if err := l.identify(ctx, s.log, id); err != nil {
		l.close()
		return nil, err
	}
	l.workers.Go(l.watch)
	return l, nil
}

// shakeHands begins a connection with the guest at the other end of conn.
func shakeHands(ctx context.Context, conn net.Conn, patience time.Duration) (*link, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	stream, err := wire.Connect(conn)
	if err != nil {
		return nil, fmt.Errorf("shake hands with the guest: %w", err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	mux, err := wire.Client(&guard{ReadWriteCloser: stream})
	if err != nil {
		return nil, err
	}
	return &link{conn: conn, mux: mux}, nil
}

// close ends the link and every call on it, and returns when nothing of it is
// left. Closing it again does nothing.
func (l *link) close() {
	l.conn.Close() // first, so that nothing waits for the guest
	l.mux.Close()
	l.workers.Wait()
}

func (l *link) broken() bool { return l.mux.IsClosed() }

// watch breaks the link if the guest does not answer while it should. A guest
// of whom nothing is wanted is not disturbed.
func (l *link) watch() {
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if l.calls.Load() == 0 {
				continue
			}
			if _, err := l.mux.Ping(); err != nil {
				l.conn.Close()
				return
			}
		case <-l.mux.CloseChan():
			return
		}
	}
}

// identify tells the guest who it is, and sets its clock.
func (l *link) identify(ctx context.Context, log *slog.Logger, id coppice.GuestIdentity) error {
	ctx, cancel := context.WithTimeout(ctx, identifyDeadline)
	defer cancel()
	identity, err := newIdentity(id)
	if err != nil {
		return err
	}
	c, err := l.begin(ctx, wire.Request{Op: wire.OpIdentify, Identity: identity})
	if err != nil {
		return err
	}
	defer c.close()
	off, err := c.setClock()
	if err != nil {
		return c.failed(err)
	}
	var done wire.Identified
	if err := c.frames.Answer(&done); err != nil {
		return c.failed(err)
	}
	log.Debug("the guest knows who it is", "instance", id.Instance, "clock", off)
	for _, complaint := range done.Complaints {
		log.Warn("the guest complains about its identity", "complaint", printable(complaint))
	}
	return nil
}
