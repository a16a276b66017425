package mem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

// A Guest is a [coppice.Guest] whose guests are all here: a handful of
// commands and some files. The connection that it dials matters only in that
// there is one.
type Guest struct {
	powerOff func(coppice.VMID)

	mu        sync.Mutex
	disks     map[coppice.VMID]*tree
	sockets   map[coppice.VMID]*sockets
	terminals map[coppice.VMID]*terminals
}

// NewGuest returns an adapter to guests that call powerOff when they are asked to shut down.
func NewGuest(powerOff func(coppice.VMID)) *Guest {
	return &Guest{
		powerOff: powerOff,
		disks:    map[coppice.VMID]*tree{}, sockets: map[coppice.VMID]*sockets{}, terminals: map[coppice.VMID]*terminals{},
	}
}

// Connect implements [coppice.Guest].
func (g *Guest) Connect(ctx context.Context, dial func(context.Context) (net.Conn, error), id coppice.GuestIdentity) (coppice.Session, error) {
	s := &guestSession{
		vm: id.VM, powerOff: g.powerOff, dial: dial,
		disk: g.disk(id.VM), sockets: g.socketsOf(id.VM), terminals: g.terminalsOf(id.VM),
		turn: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	if _, err := s.connected(ctx); err != nil {
		return nil, fmt.Errorf("connect to the guest of VM %q: %w", id.VM, err)
	}
	return s, nil
}

// disk returns the files of a guest.
func (g *Guest) disk(id coppice.VMID) *tree {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.disks[id] == nil {
		g.disks[id] = newTree("/root", "/home/"+guestUser)
	}
	return g.disks[id]
}

// socketsOf returns the sockets of a guest.
func (g *Guest) socketsOf(id coppice.VMID) *sockets {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sockets[id] == nil {
		g.sockets[id] = &sockets{listeners: map[guestAddr]*listener{}}
	}
	return g.sockets[id]
}

// guestUser is the one user of a guest beside root.
const guestUser = "user"

// errBroken is why a call fails whose connection broke, or whose session was closed.
var errBroken = fmt.Errorf("no connection: %w", coppice.ErrGuestGone)

// A guestSession is a [coppice.Session].
type guestSession struct {
	vm       coppice.VMID
	powerOff func(coppice.VMID)
	dial     func(context.Context) (net.Conn, error)
	disk     *tree
	sockets  *sockets

	terminals *terminals

	turn   chan struct{} // has an element while somebody uses the rest
	conn   net.Conn
	broken chan struct{} // closed when conn is
	close  sync.Once
	closed chan struct{}
}

// connected returns a channel that is closed when the connection breaks, or the session is closed.
func (s *guestSession) connected(ctx context.Context) (<-chan struct{}, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-s.closed:
		return nil, errBroken
	default:
	}
	if s.conn != nil && s.conn.SetDeadline(time.Time{}) == nil { // else it is closed
		return s.broken, nil
	}
	for {
		conn, err := s.dial(ctx)
		if err == nil {
			s.conn, s.broken = conn, make(chan struct{})
			go func(broken chan struct{}) {
				io.Copy(io.Discard, conn)
				close(broken)
			}(s.broken)
			return s.broken, nil
		}
		if ctx.Err() != nil || errors.Is(err, coppice.ErrNoRun) {
			return nil, errors.Join(ctx.Err(), err)
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// Exec implements [coppice.Session].
func (s *guestSession) Exec(ctx context.Context, spec coppice.ExecSpec, stdio coppice.Stdio) (coppice.ExecStatus, error) {
	broken, err := s.connected(ctx)
	if err != nil {
		return coppice.ExecStatus{}, err
	}
	sh, err := newShell(s, spec, stdio)
	if err != nil {
		return coppice.ExecStatus{}, err
	}
	if spec.SFTP {
		return coppice.ExecStatus{}, s.serveSFTP(ctx, spec.User, sh.stdio)
	}
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-broken:
			cancel(errBroken)
		case <-running.Done():
		}
	}()
	overtime := errors.New("the command ran into its timeout")
	if spec.Timeout > 0 {
		defer time.AfterFunc(spec.Timeout, func() { cancel(overtime) }).Stop()
	}
	signalled := signalError(0)
	go func() {
		for {
			select {
			case name := <-stdio.Signals:
				if n := unix.SignalNum(name); n != 0 {
					cancel(signalError(n))
				}
			case <-running.Done():
				return
			}
		}
	}()
	code, err := sh.run(running, spec.Command)
	switch {
	case err == nil && sh.signal != 0:
		return signalError(sh.signal).status(), nil
	case err == nil:
		return coppice.ExecStatus{Code: code}, nil
	case errors.As(context.Cause(running), &signalled):
		return signalled.status(), nil
	case context.Cause(running) == overtime:
		return coppice.ExecStatus{Code: 124, TimedOut: true}, nil
	case ctx.Err() == nil && context.Cause(running) != nil:
		return coppice.ExecStatus{}, context.Cause(running)
	}
	return coppice.ExecStatus{}, err
}

// A signalError is the signal that ended a command.
type signalError syscall.Signal

func (s signalError) Error() string { return unix.SignalName(syscall.Signal(s)) }

func (s signalError) status() coppice.ExecStatus {
	return coppice.ExecStatus{Code: 128 + int(s), Signal: s.Error()}
}

// SetClock implements [coppice.Session]. The guests' clock is the host's.
func (s *guestSession) SetClock(ctx context.Context) error {
	_, err := s.connected(ctx)
	return err
}

// Shutdown implements [coppice.Session].
func (s *guestSession) Shutdown(ctx context.Context) error {
	if _, err := s.connected(ctx); err != nil {
		return err
	}
	s.powerOff(s.vm)
	return nil
}

// Files implements [coppice.Session].
func (s *guestSession) Files(user string) coppice.GuestFiles { return guestFiles{s, user} }

// Close implements [coppice.Session].
func (s *guestSession) Close() error {
	s.close.Do(func() {
		s.turn <- struct{}{}
		close(s.closed)
		s.conn.Close()
		<-s.broken
		<-s.turn
	})
	return nil
}

// home returns a user's home directory.
func home(user string) (string, error) {
	switch user {
	case "", "root", "0":
		return "/root", nil
	case guestUser:
		return "/home/" + guestUser, nil
	}
	return "", fmt.Errorf("%w: %q", coppice.ErrNoUser, user)
}
