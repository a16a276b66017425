// Package confine lets callers into VMs, and an identity only as the users of
// the guest that it may act as. Every way into a guest goes through here.
package confine

import (
	"context"
	"io"
	"io/fs"
	"net"

	"github.com/coppice-vm/coppice"
)

// VMs lets in whoever is to work inside a VM, as package lifecycle's Manager does.
type VMs interface {
	Use(ctx context.Context, account coppice.AccountID, id coppice.VMID, by string) (session coppice.Session, release func(), err error)
}

// Use returns the session of a VM, in which who may act as the users that are
// granted: an identity comes with its grant for this VM, or finds that there is
// none. by says what for; until release the VM is in use. The session is not
// closed here.
func Use(ctx context.Context, vms VMs, who coppice.Principal, id coppice.VMID, by string) (session coppice.Session, release func(), err error) {
	if who.Identity != "" && (who.Grant == nil || who.Grant.VM != id) {
		return nil, nil, coppice.NoVM(id)
	}
	session, release, err = vms.Use(ctx, who.Account, id, by)
	if err != nil || who.Identity == "" {
		return session, release, err
	}
	return &confined{session, who.Grant}, release, nil
}

// A confined session lets in only the users that a grant allows. It embeds
// nothing, so that whatever a session comes to offer is refused until it is
// said here whether the grant allows it.
type confined struct {
	session coppice.Session
	grant   *coppice.Grant
}

func (c *confined) Exec(ctx context.Context, spec coppice.ExecSpec, stdio coppice.Stdio) (coppice.ExecStatus, error) {
	if err := c.grant.Allow(spec.User); err != nil {
		return coppice.ExecStatus{}, err
	}
	return c.session.Exec(ctx, spec, stdio)
}

func (c *confined) Files(user string) coppice.GuestFiles {
	if err := c.grant.Allow(user); err != nil {
		return noFiles{err}
	}
	return c.session.Files(user)
}

func (c *confined) Terminals(user string) coppice.GuestTerminals {
	if err := c.grant.Allow(user); err != nil {
		return noTerminals{err}
	}
	return c.session.Terminals(user)
}

func (c *confined) Dial(ctx context.Context, user, network, address string) (net.Conn, error) {
	if err := c.grant.Allow(user); err != nil {
		return nil, err
	}
	return c.session.Dial(ctx, user, network, address)
}

func (c *confined) Listen(ctx context.Context, user, network, address string) (net.Listener, error) {
	if err := c.grant.Allow(user); err != nil {
		return nil, err
	}
	return c.session.Listen(ctx, user, network, address)
}

func (c *confined) SetClock(context.Context) error { return c.notGranted() }
func (c *confined) Shutdown(context.Context) error { return c.notGranted() }
func (c *confined) Close() error                   { return c.notGranted() }

func (c *confined) notGranted() error {
	return coppice.Errorf(coppice.CodeForbidden, "that is for the owner of VM %s", c.grant.VM).With("vmId", c.grant.VM)
}

// noFiles are the files of a user that nobody may act as.
type noFiles struct{ err error }

func (f noFiles) Open(context.Context, string) (coppice.GuestFile, error) {
	return coppice.GuestFile{}, f.err
}

func (f noFiles) Write(context.Context, string, fs.FileMode, io.Reader) error { return f.err }

func (f noFiles) Watch(context.Context, string, func(coppice.FileEvent)) error { return f.err }

// noTerminals are likewise their terminals.
type noTerminals struct{ err error }

func (n noTerminals) Open(context.Context, coppice.TerminalSpec) (coppice.Terminal, error) {
	return nil, n.err
}

func (n noTerminals) Attach(context.Context, string, coppice.TerminalSize, *coppice.Typist) (coppice.Terminal, error) {
	return nil, n.err
}

func (n noTerminals) List(context.Context) ([]coppice.TerminalInfo, error) { return nil, n.err }

func (n noTerminals) Close(context.Context, string) (coppice.TerminalInfo, error) {
	return coppice.TerminalInfo{}, n.err
}
