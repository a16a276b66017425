package ingress

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/coppice-vm/coppice"
)

// headStart is how long a connection by the network is waited for before the
// other way is tried as well: an answer takes milliseconds, but a packet that is
// lost is sent again only after a second, and a guest's firewall may drop them all.
const headStart = 100 * time.Millisecond

// A reached is how an attempt to connect ended.
type reached struct {
	conn net.Conn
	err  error
}

// reach connects to a port of a VM's guest: by the network where something
// listens for it, else from inside the guest, which reaches also what listens on
// its loopback only, and where the network leads nowhere.
func (s *Server) reach(ctx context.Context, account coppice.AccountID, id coppice.VMID, port uint16) (net.Conn, error) {
	session, release, err := s.config.VMs.Use(ctx, account, id, "http")
	if err != nil {
		return nil, err
	}
	defer release()
	return firstOf(ctx,
		func(ctx context.Context) (net.Conn, error) { return s.config.Network.Dial(ctx, id, port) },
		func(ctx context.Context) (net.Conn, error) {
			return session.Dial(ctx, "", "tcp", net.JoinHostPort("localhost", strconv.Itoa(int(port))))
		})
}

// firstOf returns the connection that one of two ways leads to first. The second
// is tried when the first has failed, or has had its head start.
func firstOf(ctx context.Context, first, second func(context.Context) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan reached)
	try := func(dial func(context.Context) (net.Conn, error)) {
		conn, err := dial(ctx)
		select {
		case results <- reached{conn, err}:
		case <-ctx.Done(): // the other was faster
			if err == nil {
				conn.Close()
			}
		}
	}
	go try(first)
	over := time.NewTimer(headStart)
	defer over.Stop()
	var failed []error
	both := false
	for {
		select {
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			failed = append(failed, r.err)
		case <-over.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if len(failed) == 2 {
			return nil, errors.Join(failed...)
		}
		if !both {
			both = true
			go try(second)
		}
	}
}
