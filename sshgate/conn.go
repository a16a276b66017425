package sshgate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/confine"
	"github.com/coppice-vm/coppice/internal/moving"
)

const (
	// keepAlive is how often a client is asked whether it is there, and
	// keepAliveTime what it has to answer.
	keepAlive     = 30 * time.Second
	keepAliveTime = 90 * time.Second
)

var errNoKeys = errors.New("none of the client's keys is known")

var errSilent = errors.New("the client does not answer")

// A conn is a connection of somebody who has logged in.
type conn struct {
	*Gateway
	*login
	ssh      *ssh.ServerConn
	ctx      context.Context // ends with the connection
	end      context.CancelCauseFunc
	forwards forwards

	mu       sync.Mutex
	ended    bool           // no more channels
	channels sync.WaitGroup // that are open
}

// handle serves a connection until it ends.
func (g *Gateway) handle(raw net.Conn) {
	from := origin(raw.RemoteAddr())
	log := g.Log.With("from", raw.RemoteAddr())
	if g.failures.tooMany(from) {
		log.Warn("ssh: not let in: too many failed logins")
		io.WriteString(raw, "Not allowed at this time: too many failed logins.\r\n")
		return
	}
	ctx, end := context.WithCancelCause(g.serving)
	defer end(nil)
	sc, channels, requests := g.logIn(ctx, raw, &attempt{Gateway: g, ctx: ctx, from: from, log: log})
	if sc == nil {
		return
	}
	l := sc.Permissions.ExtraData[loginKey{}].(*login)
	log.Info("ssh: login", "vm", l.name.vm, "user", l.name.user, "account", l.who.Account, "identity", l.who.Identity)
	c := &conn{Gateway: g, login: l, ssh: sc, ctx: ctx, end: end}
	defer context.AfterFunc(l.visit, func() { end(context.Cause(l.visit)) })()
	context.AfterFunc(ctx, c.part)
	go c.keepAlive()
	go c.answer(requests)
	for ch := range channels {
		c.open(ch)
	}
	end(net.ErrClosed)
	c.part()
}

// logIn lets a client log in; nil if it does not.
func (g *Gateway) logIn(ctx context.Context, raw net.Conn, a *attempt) (*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request) {
	select {
	case g.starting <- struct{}{}:
		defer func() { <-g.starting }()
	default:
		a.log.Warn("ssh: not let in: too many connections that have not logged in")
		return nil, nil, nil
	}
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	raw.SetDeadline(time.Now().Add(loginTime))
	sc, channels, requests, err := ssh.NewServerConn(raw, a.config())
	if err != nil {
		a.log.Debug("ssh: no login", "error", err)
		if a.offered && !a.failed {
			a.fail(loginName{}, errNoKeys)
		}
		return nil, nil, nil
	}
	raw.SetDeadline(time.Time{})
	return sc, channels, requests
}

// part ends what goes on over the connection, and then the connection.
func (c *conn) part() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	over := make(chan struct{})
	go func() {
		c.channels.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(partTime):
	}
	c.ssh.Close()
	<-over
}

// keepAlive ends the connection if the client does not answer.
func (c *conn) keepAlive() {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		late := time.AfterFunc(keepAliveTime, func() { c.end(errSilent) })
		_, _, err := c.ssh.SendRequest("keepalive@openssh.com", true, nil)
		late.Stop()
		if err != nil {
			return
		}
	}
}

// open serves a channel that the client wants to open.
func (c *conn) open(ch ssh.NewChannel) {
	serve := map[string]func(ssh.NewChannel){
		"session":                        c.session,
		"direct-tcpip":                   c.dialTCP,
		"direct-streamlocal@openssh.com": c.dialUnix,
	}[ch.ChannelType()]
	if serve == nil {
		ch.Reject(ssh.UnknownChannelType, "not served here")
		return
	}
	if !c.begin(func() { serve(ch) }) {
		ch.Reject(ssh.ResourceShortage, "the connection ends")
	}
}

// begin does something that the connection waits for, unless it is ending.
func (c *conn) begin(do func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.channels.Go(do)
	return true
}

// answer answers requests that are about no channel.
func (c *conn) answer(requests <-chan *ssh.Request) {
	for r := range requests {
		ok, payload := c.request(r)
		if r.WantReply {
			r.Reply(ok, payload)
		}
	}
}

// An inside is the VM of a connection, for one who has entered it.
type inside struct {
	coppice.Session
	release func() // the VM is not in use any more, but for bytes that move
	touch   func()
}

// enter calls do for the inside of the connection's VM, which it wakes if need
// be; it calls waking before, if that is not nil. Its error is do's, or why
// there is nothing to enter.
func (c *conn) enter(ctx context.Context, waking func(), do func(context.Context, *inside) error) error {
	id, err := c.resolve(ctx)
	if err != nil {
		return err
	}
	enterErr := c.login.enter(ctx, id, func(ctx context.Context, who coppice.Principal) {
		if waking != nil {
			if vm, err := c.VMs.VM(ctx, who.Account, id); err == nil && vm.State == coppice.Suspended {
				waking()
			}
		}
		session, release, useErr := confine.Use(ctx, c.VMs, who, id, "ssh")
		if useErr != nil {
			err = useErr
			return
		}
		defer release()
		touch := moving.Sparingly(func() { c.VMs.Touch(id) })
		err = do(ctx, &inside{Session: session, release: release, touch: touch})
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
	})
	switch {
	case errors.Is(enterErr, coppice.ErrNoGrant), coppice.CodeOf(err) == coppice.CodeVMNotFound:
		return c.noVM()
	case enterErr != nil:
		return enterErr
	}
	return err
}

// resolve returns the id of the VM that the user name names.
func (c *conn) resolve(ctx context.Context) (coppice.VMID, error) {
	if id := coppice.VMID(c.name.vm); id.Valid() {
		return id, nil
	}
	all, err := c.VMs.VMs(ctx, c.who.Account, false)
	if err != nil {
		return "", err
	}
	var id coppice.VMID
	for _, vm := range all {
		switch {
		case vm.Name != c.name.vm:
		case id != "" && c.who.Identity != "":
			return "", c.noVM()
		case id != "":
			return "", coppice.Errorf(coppice.CodeConflict, "more than one VM is called %s: say which by its id", c.name.vm)
		default:
			id = vm.ID
		}
	}
	if id == "" {
		return "", c.noVM()
	}
	return id, nil
}

func (c *conn) noVM() error {
	return coppice.Errorf(coppice.CodeVMNotFound, "there is no VM %s", c.name.vm)
}

// refuse says why a channel is not opened.
func (c *conn) refuse(ch ssh.NewChannel, err error) {
	ch.Reject(ssh.ConnectionFailed, fmt.Sprintf("coppice: %s", c.explain(err)))
}
