package sshgate

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice"
)

// A login is somebody who has shown who they are.
type login struct {
	name loginName
	who  coppice.Principal
	// visit ends when what they showed is revoked.
	visit context.Context
	// enter lets them in once more, with what is granted to them in a VM. The
	// error is that of the [Access] that do did not get to run by.
	enter func(ctx context.Context, vm coppice.VMID, do func(context.Context, coppice.Principal)) error
}

// loginKey is where the permissions of a connection have its login. Only what
// is there counts: a client may try several methods before one lets it in.
type loginKey struct{}

var (
	errRefused = errors.New("permission denied")
	errNoName  = errors.New("the user name is none of VM, VM+USER, VM:TOKEN")
)

// An attempt is a connection that has not logged in.
type attempt struct {
	*Gateway
	ctx  context.Context // of the connection
	from netip.Prefix
	log  *slog.Logger
	// offered is true if there was a key to be tried, and failed if a failure
	// has been taken note of.
	offered, failed bool
}

// config is how a client may log in.
func (a *attempt) config() *ssh.ServerConfig {
	config := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-coppice",
		NoClientAuth:  true,
		// By the user name alone, if there is a secret in it.
		NoClientAuthCallback: func(meta ssh.ConnMetadata) (*ssh.Permissions, error) {
			name, err := parseName(meta.User())
			if err != nil || name.secret == "" {
				return nil, errRefused // every client asks this first
			}
			return a.bySecret(meta, name.secret)
		},
		PasswordCallback: func(meta ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			return a.bySecret(meta, string(password))
		},
		// A client asks about many keys, and proves that it has one of them.
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			a.offered = true
			err := a.Access.ByPublicKey(a.ctx, ssh.FingerprintSHA256(key), func(context.Context, coppice.Principal) {})
			if err != nil && !errors.Is(err, coppice.ErrNoKey) {
				a.log.Error("ssh: a login could not be judged", "error", err)
			}
			return nil, err
		},
		VerifiedPublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey, _ *ssh.Permissions, _ string) (*ssh.Permissions, error) {
			return a.judge(meta, func(name loginName) (*login, error) {
				return a.admit(name, a.byPublicKey(ssh.FingerprintSHA256(key)))
			})
		},
	}
	config.AddHostKey(a.HostKey)
	return config
}

// bySecret lets in the bearer of a key or token.
func (a *attempt) bySecret(meta ssh.ConnMetadata, secret string) (*ssh.Permissions, error) {
	return a.judge(meta, func(name loginName) (*login, error) {
		l, err := a.admit(name, a.byKey(secret))
		if errors.Is(err, coppice.ErrNoKey) {
			l, err = a.admit(name, a.byToken(secret))
		}
		return l, err
	})
}

// judge lets in whom find knows. All who are refused wait for it equally long
// and are told the same.
func (a *attempt) judge(meta ssh.ConnMetadata, find func(loginName) (*login, error)) (*ssh.Permissions, error) {
	refused := time.NewTimer(refusalTime)
	defer refused.Stop()
	name, err := parseName(meta.User())
	var l *login
	if err == nil {
		l, err = find(name)
	} else {
		err = errors.Join(errNoName, err)
	}
	if err == nil {
		return &ssh.Permissions{ExtraData: map[any]any{loginKey{}: l}}, nil
	}
	switch {
	case errors.Is(err, errNoName), errors.Is(err, coppice.ErrNoKey), errors.Is(err, coppice.ErrNoToken):
		a.fail(name, err)
	default:
		a.log.Error("ssh: a login could not be judged", "error", err)
	}
	select {
	case <-refused.C:
	case <-a.ctx.Done():
	}
	return nil, errRefused
}

// fail takes note of a login that failed. Of the name nothing is logged that may be a secret.
func (a *attempt) fail(name loginName, why error) {
	a.failed = true
	a.failures.add(a.from)
	a.log.Warn("ssh: login refused", "vm", name.vm, "user", name.user, "reason", why)
}

type entrance = func(ctx context.Context, vm coppice.VMID, do func(context.Context, coppice.Principal)) error

func (g *Gateway) byKey(secret string) entrance {
	return func(ctx context.Context, _ coppice.VMID, do func(context.Context, coppice.Principal)) error {
		return g.Access.ByKey(ctx, secret, do)
	}
}

func (g *Gateway) byPublicKey(fingerprint string) entrance {
	return func(ctx context.Context, _ coppice.VMID, do func(context.Context, coppice.Principal)) error {
		return g.Access.ByPublicKey(ctx, fingerprint, do)
	}
}

func (g *Gateway) byToken(secret string) entrance {
	return func(ctx context.Context, vm coppice.VMID, do func(context.Context, coppice.Principal)) error {
		return g.Access.ByToken(ctx, secret, vm, do)
	}
}

// admit returns who comes in by an entrance, where they stay until the
// connection ends.
func (a *attempt) admit(name loginName, enter entrance) (*login, error) {
	l := &login{name: name, enter: enter}
	in := make(chan error, 1)
	go func() {
		err := enter(a.ctx, "", func(visit context.Context, who coppice.Principal) {
			l.visit, l.who = visit, who
			in <- nil
			select {
			case <-visit.Done():
			case <-a.ctx.Done():
			}
		})
		if err != nil {
			in <- err
		}
	}()
	if err := <-in; err != nil {
		return nil, err
	}
	return l, nil
}
