//go:build failpoints

package failports

import (
	"context"
	"net"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

var guestConnect = newEffect("Guest.Connect")

type guest struct {
	coppice.Guest
	life *failpoint.Life
}

// Guest puts points around what the host asks of guests.
func Guest(life *failpoint.Life, g coppice.Guest) coppice.Guest { return guest{g, life} }

func (g guest) Connect(ctx context.Context, dial func(context.Context) (net.Conn, error), id coppice.GuestIdentity) (coppice.Session, error) {
	return act(ctx, g.life, guestConnect, func(ctx context.Context) (coppice.Session, error) {
		s, err := g.Guest.Connect(ctx, dial, id)
		if err != nil {
			return nil, err
		}
		return session{s, g.life}, nil
	})
}

var (
	sessionExec     = newEffect("Session.Exec")
	sessionSetClock = newEffect("Session.SetClock")
	sessionShutdown = newEffect("Session.Shutdown")
)

type session struct {
	coppice.Session
	life *failpoint.Life
}

func (s session) Exec(ctx context.Context, spec coppice.ExecSpec, stdio coppice.Stdio) (coppice.ExecStatus, error) {
	return act(ctx, s.life, sessionExec, func(ctx context.Context) (coppice.ExecStatus, error) {
		return s.Session.Exec(ctx, spec, stdio)
	})
}

func (s session) SetClock(ctx context.Context) error {
	return carry(ctx, s.life, sessionSetClock, func(ctx context.Context) error {
		return s.Session.SetClock(ctx)
	})
}

func (s session) Shutdown(ctx context.Context) error {
	return carry(ctx, s.life, sessionShutdown, func(ctx context.Context) error {
		return s.Session.Shutdown(ctx)
	})
}
