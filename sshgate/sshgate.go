// Package sshgate serves SSH to what is inside VMs: commands, files, forwarded
// ports, as an SSH server in the guest would, whether or not there is one. Who
// logs in names the VM where they would name a user, and shows a key or token
// of the API.
//
// The protocol is golang.org/x/crypto/ssh's. All that happens in a guest goes
// through package confine, as the user that somebody logged in as.
package sshgate

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice"
)

const (
	// loginTime is how long a client has to log in: somebody may have to type.
	loginTime = 2 * time.Minute
	// maxStarting is how many connections may be about to log in.
	maxStarting = 200
	// partTime is what sessions have to end in order, when their connection ends.
	partTime = 4 * time.Second
)

// VMs is what the gateway lets people into. Its errors are [*coppice.Error]
// where a user should be told, and a VM of another account does not exist.
type VMs interface {
	VM(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error)
	VMs(ctx context.Context, account coppice.AccountID, includeDeleted bool) ([]coppice.VM, error)
	// Use returns the session of a VM, which it wakes if it is suspended. Until
	// release the VM is in use.
	Use(ctx context.Context, account coppice.AccountID, id coppice.VMID, by string) (session coppice.Session, release func(), err error)
	// Touch says that bytes moved to or from a VM.
	Touch(id coppice.VMID)
}

// Access knows whose a secret is. A context that it calls do with ends when the
// secret is revoked.
type Access interface {
	// ByKey calls do with whom the API key secret acts for. [coppice.ErrNoKey] if there is none.
	ByKey(ctx context.Context, secret string, do func(context.Context, coppice.Principal)) error
	// ByPublicKey calls do with whom the SSH key with that fingerprint acts for.
	// [coppice.ErrNoKey] if there is none.
	ByPublicKey(ctx context.Context, fingerprint string, do func(context.Context, coppice.Principal)) error
	// ByToken calls do with whom the identity's token secret acts for, with the
	// grant for vm if that is not empty. [coppice.ErrNoToken] if there is no such
	// token, [coppice.ErrNoGrant] if there is no grant.
	ByToken(ctx context.Context, secret string, vm coppice.VMID, do func(context.Context, coppice.Principal)) error
}

// A Config is what a [Gateway] needs. All of it is required.
type Config struct {
	VMs     VMs
	Access  Access
	HostKey ssh.Signer
	Log     *slog.Logger
}

// A Gateway serves SSH.
type Gateway struct {
	Config
	failures failures
	starting chan struct{} // has an element for each connection that has not logged in

	serving context.Context // ends when the gateway is to stop
	stop    context.CancelCauseFunc

	mu        sync.Mutex
	listeners []net.Listener
	raw       map[net.Conn]struct{} // the connections
	conns     sync.WaitGroup
}

// errLeaving is why sessions end when the daemon does.
var errLeaving = errors.New("the daemon is stopping; the VM runs on")

// New returns a gateway that does not listen yet.
func New(config Config) *Gateway {
	g := &Gateway{Config: config, starting: make(chan struct{}, maxStarting), raw: map[net.Conn]struct{}{}}
	g.serving, g.stop = context.WithCancelCause(context.Background())
	return g
}

// Serve serves what comes to l until Shutdown, and then returns nil. It closes l.
func (g *Gateway) Serve(l net.Listener) error {
	defer l.Close()
	g.mu.Lock()
	g.listeners = append(g.listeners, l)
	g.mu.Unlock()
	for {
		conn, err := l.Accept()
		switch {
		case g.serving.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // too many files, or a client that left
			g.Log.Warn("ssh: a connection was not accepted", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-g.serving.Done():
			}
			continue
		}
		if g.track(conn) {
			go func() {
				defer g.untrack(conn)
				g.handle(conn)
			}()
		}
	}
}

// track takes note of a connection, unless the gateway is stopping.
func (g *Gateway) track(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.serving.Err() != nil {
		conn.Close()
		return false
	}
	g.raw[conn] = struct{}{}
	g.conns.Add(1)
	return true
}

func (g *Gateway) untrack(conn net.Conn) {
	conn.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.raw, conn)
	g.conns.Done()
}

// Shutdown stops listening, ends all sessions, and returns when they have
// ended. When ctx ends before, they are cut off, and the error is ctx's. What
// runs in guests in terminals goes on; commands are killed.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.stop(errLeaving)
	for _, l := range g.listeners {
		l.Close()
	}
	g.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		g.conns.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	for conn := range g.raw {
		conn.Close()
	}
	g.mu.Unlock()
	<-ended
	return ctx.Err()
}

// explain says an error to whoever is logged in.
func (g *Gateway) explain(err error) string {
	if e, ok := errors.AsType[*coppice.Error](err); ok {
		return e.Message
	}
	for _, known := range []error{errLeaving, coppice.ErrRevoked, coppice.ErrNoUser, coppice.ErrGuestGone, coppice.ErrTooMany, coppice.ErrTerminalUser} {
		if errors.Is(err, known) {
			return err.Error()
		}
	}
	g.Log.Error("ssh: a session failed", "error", err)
	return "internal error; the daemon's log says more"
}
