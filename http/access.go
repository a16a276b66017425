package http

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// An access says who may call a route.
type access int

const (
	// nobody is what a route is for that does not say whom it is for.
	nobody access = iota
	anyone
	// holder is the bearer of any secret: of an API key or an identity's token.
	holder
	// owner is the bearer of an account's API key. That a VM belongs to the
	// account is checked where the VM is looked up.
	owner
	// guestUser is an owner, or the bearer of the token of an identity that has
	// a grant for the VM in the path. As which user of the guest is checked
	// where one is named: see [confined].
	guestUser
)

// An Authenticator knows whose a secret is, and what an identity may use.
type Authenticator interface {
	// Key returns whom the API key secret acts for. [coppice.ErrNoKey] if there is none.
	Key(ctx context.Context, secret string) (coppice.Principal, error)
	// Token returns whom the identity's token secret acts for. [coppice.ErrNoToken] if there is none.
	Token(ctx context.Context, secret string) (coppice.Principal, error)
	// Grant returns what an identity may do in a VM. [coppice.ErrNoGrant] if that is nothing.
	Grant(ctx context.Context, identity coppice.IdentityID, vm coppice.VMID) (coppice.Grant, error)
}

// A caller is who makes a request.
type caller struct {
	coppice.Principal
	// grant is what an identity may do in the VM that the request is about.
	// An owner has none, and may do anything.
	grant *coppice.Grant
}

// admit returns who makes a request, if that is somebody whom a route is for.
func (s *Server) admit(who access, r *http.Request) (caller, error) {
	switch who {
	case anyone:
		return caller{}, nil
	case holder, owner, guestUser:
	default:
		return caller{}, coppice.Errorf(coppice.CodeForbidden, "nobody may call %s %s", r.Method, r.URL.Path)
	}
	p, err := s.authenticate(r)
	c := caller{Principal: p}
	switch {
	case err != nil:
		return caller{}, err
	case p.Identity == "" || who == holder:
		return c, nil
	case who != guestUser:
		return caller{}, coppice.Errorf(coppice.CodeForbidden,
			"an identity's token is for what goes on inside the VMs that are granted to it, not for %s %s: use an API key", r.Method, r.URL.Path)
	}
	c.grant, err = s.grant(r, p.Identity)
	return c, err
}

// grant returns what an identity may do in the VM that r is about. If that is
// nothing the VM is one that does not exist.
func (s *Server) grant(r *http.Request, identity coppice.IdentityID) (*coppice.Grant, error) {
	id, err := parseVMID(r.PathValue("vm_id"))
	if err != nil {
		return nil, err
	}
	grant, err := s.config.Auth.Grant(r.Context(), identity, id)
	if errors.Is(err, coppice.ErrNoGrant) {
		return nil, coppice.NoVM(id)
	}
	return &grant, err
}

// authenticate returns who the secret in r is of. A key counts for more than a token.
func (s *Server) authenticate(r *http.Request) (coppice.Principal, error) {
	authorization, token := r.Header.Get("Authorization"), r.Header.Get(api.HeaderAccessToken)
	if authorization == "" && token != "" {
		p, err := s.config.Auth.Token(r.Context(), token)
		if errors.Is(err, coppice.ErrNoToken) {
			err = unauthorized(r, "the access token is not known here; it may have been revoked")
		}
		return p, err
	}
	scheme, key, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		return coppice.Principal{}, unauthorized(r, "there is no API key; send it as Authorization: Bearer KEY, "+
			"or the token of an identity as "+api.HeaderAccessToken+": TOKEN")
	}
	p, err := s.config.Auth.Key(r.Context(), key)
	if errors.Is(err, coppice.ErrNoKey) {
		err = unauthorized(r, "the API key is not known here; it may have been revoked")
	}
	return p, err
}

func unauthorized(r *http.Request, reason string) error {
	return coppice.Errorf(coppice.CodeUnauthorized, "%s", reason).
		With("route", r.Method+" "+r.URL.Path).With("reason", reason)
}

type callerKey struct{}

// admitting lets only those through whom a route is for.
func (s *Server) admitting(who access) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return s.handle(func(w http.ResponseWriter, r *http.Request) error {
			c, err := s.admit(who, r)
			if err != nil {
				return err
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
			return nil
		})
	}
}

// admitted returns whom [Server.admitting] let through. It is for bindings,
// which hand it to their handlers.
func admitted(r *http.Request) caller { return r.Context().Value(callerKey{}).(caller) }
