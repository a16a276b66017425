package http

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// An audience says who may call a route.
type audience int

const (
	// nobody is what a route is for that does not say whom it is for.
	nobody audience = iota
	anyone
	// holder is the bearer of any secret: of an API key or an identity's token.
	holder
	// owner is the bearer of an account's API key. That a VM belongs to the
	// account is checked where the VM is looked up.
	owner
	// guestUser is an owner, or the bearer of the token of an identity that has
	// a grant for the VM in the path. As which user of the guest is checked
	// where one is named: see package confine.
	guestUser
	// admin is the bearer of a key that may manage the host's accounts.
	admin
)

// accessRoutes are those by which it is changed who may call a route.
func (s *Server) accessRoutes() []route {
	const (
		identity = "/identity/v1/identities/{identity}"
		grants   = identity + "/permissions/vm"
	)
	return []route{
		{"POST", "/auth/v1/browser-session", owner, "signIn", "Begin a browser's session: the answer and its cookie stand in for the key", plain(s.signIn, returnsJSON[api.BrowserSession]())},
		{"DELETE", "/auth/v1/browser-session", owner, "signOut", "Have the browser forget its cookie", plain(s.signOut, returnsJSON[api.Empty]())},
		{"GET", "/v1/keys", owner, "listKeys", "List the account's API keys, oldest first", typed(s.listKeys)},
		{"POST", "/v1/keys", owner, "createKey", "Make an API key, whose secret is shown once", typed(s.createKey)},
		{"DELETE", "/v1/keys/{key_id}", owner, "revokeKey", "Revoke an API key, and end what it let in", typed(s.revokeKey)},
		{"GET", "/v1/ssh-keys", owner, "listSSHKeys", "List the account's SSH keys, oldest first", typed(s.listSSHKeys)},
		{"POST", "/v1/ssh-keys", owner, "addSSHKey", "Let the bearer of an SSH key log in to the account's VMs", typed(s.addSSHKey)},
		{"DELETE", "/v1/ssh-keys/{key_id}", owner, "removeSSHKey", "Remove an SSH key, and end what it let in", typed(s.removeSSHKey)},

		{"GET", "/metrics", admin, "metrics", "Say what is counted, for Prometheus", plain(s.metrics, returns("text/plain"))},

		{"GET", "/v1/accounts", admin, "listAccounts", "List the host's accounts, oldest first", typed(s.listAccounts)},
		{"POST", "/v1/accounts", admin, "createAccount", "Make an account and its first API key, whose secret is shown once", typed(s.createAccount)},
		{"DELETE", "/v1/accounts/{account_id}", admin, "deleteAccount", "Delete an account that has neither VMs nor snapshots", typed(s.deleteAccount)},

		{"GET", "/v1/audit", admin, "audit", "Compare what the store says with what the host has, of all accounts", typed(s.audit)},
		{"POST", "/v1/audit/repair", admin, "repair", "Do so, and mend what can be mended without harm", typed(s.repair)},

		{"GET", "/identity/v1/identities", owner, "listIdentities", "List the account's identities, oldest first", typed(s.listIdentities)},
		{"POST", "/identity/v1/identities", owner, "createIdentity", "Make an identity, which may do nothing yet", typed(s.createIdentity)},
		{"DELETE", identity, owner, "deleteIdentity", "Delete an identity with its tokens and grants, and end what they let in", typed(s.deleteIdentity)},
		{"GET", identity + "/tokens", owner, "listTokens", "List an identity's access tokens, oldest first", typed(s.listTokens)},
		{"POST", identity + "/tokens", owner, "createToken", "Make an access token, whose secret is shown once", typed(s.createToken)},
		{"DELETE", identity + "/tokens/{token}", owner, "revokeToken", "Revoke an access token, and end what it let in", typed(s.revokeToken)},
		{"GET", grants, owner, "listGrants", "List what VMs an identity may use, oldest grant first", typed(s.listGrants)},
		{"POST", grants + "/{vm_id}", owner, "grantVM", "Let an identity use a VM from the inside", typed(s.grantVM)},
		{"GET", grants + "/{vm_id}", owner, "getGrant", "Say as whom an identity may use a VM", typed(s.getGrant)},
		{"PUT", grants + "/{vm_id}", owner, "changeGrant", "Change as whom an identity may use a VM, and end what it is doing there", typed(s.changeGrant)},
		{"DELETE", grants + "/{vm_id}", owner, "revokeGrant", "Take a VM from an identity, and end what it is doing there", typed(s.revokeGrant)},
	}
}

// An Authenticator lets requests in by their secrets.
type Authenticator interface {
	// ByKey calls do with whom the API key secret acts for, and with a context
	// that ends, because of [coppice.ErrRevoked], when the key is revoked.
	// [coppice.ErrNoKey] if the secret is nobody's.
	ByKey(ctx context.Context, secret string, do func(context.Context, coppice.Principal)) error
	// ByToken does so for the access token of an identity. If vm is not empty
	// the principal comes with the grant for it. [coppice.ErrNoToken] if the
	// secret is nobody's, [coppice.ErrNoGrant] if there is no grant.
	ByToken(ctx context.Context, secret string, vm coppice.VMID, do func(context.Context, coppice.Principal)) error
}

// A caller is who makes a request.
type caller = coppice.Principal

// admit calls do with who makes a request, if that is somebody whom a route is
// for. A key counts for more than a token.
func (s *Server) admit(who audience, r *http.Request, do func(context.Context, caller)) error {
	switch who {
	case anyone:
		do(r.Context(), caller{})
		return nil
	case holder, owner, guestUser, admin:
	default:
		return coppice.Errorf(coppice.CodeForbidden, "nobody may call %s %s", r.Method, r.URL.Path)
	}
	token := r.Header.Get(api.HeaderAccessToken)
	if r.Header.Get("Authorization") == "" && token != "" {
		return s.admitToken(who, r, token, do)
	}
	key := keyOf(r)
	if key == "" {
		return unauthorized(r, "there is no API key; send it as Authorization: Bearer KEY, "+
			"or the token of an identity as "+api.HeaderAccessToken+": TOKEN")
	}
	return s.admitKey(who, r, key, do)
}

// keyOf returns the API key that a request shows, or that its session has; empty if there is none.
func keyOf(r *http.Request) string {
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		key, _ := sessionKey(r)
		return key
	}
	scheme, key, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return key
}

func (s *Server) admitKey(who audience, r *http.Request, key string, do func(context.Context, caller)) error {
	var refused error
	err := s.config.Access.ByKey(r.Context(), key, func(ctx context.Context, c caller) {
		if who == admin && !c.Admin {
			refused = coppice.Errorf(coppice.CodeForbidden, "%s %s takes a key that may manage accounts, like the host's own", r.Method, r.URL.Path)
			return
		}
		do(ctx, c)
	})
	if errors.Is(err, coppice.ErrNoKey) {
		return unauthorized(r, "the API key is not known here; it may have been revoked")
	}
	return cmp.Or(err, refused)
}

func (s *Server) admitToken(who audience, r *http.Request, token string, do func(context.Context, caller)) error {
	var vm coppice.VMID
	if who == guestUser {
		vm = coppice.VMID(r.PathValue("vm_id"))
	}
	var refused error
	err := s.config.Access.ByToken(r.Context(), token, vm, func(ctx context.Context, c caller) {
		if who != guestUser && who != holder {
			refused = coppice.Errorf(coppice.CodeForbidden,
				"an identity's token is for what goes on inside the VMs that are granted to it, not for %s %s: use an API key", r.Method, r.URL.Path)
			return
		}
		do(ctx, c)
	})
	switch {
	case errors.Is(err, coppice.ErrNoToken):
		return unauthorized(r, "the access token is not known here; it may have been revoked")
	case errors.Is(err, coppice.ErrNoGrant):
		// A VM that is not granted is one that does not exist.
		id, err := parseVMID(string(vm))
		if err == nil {
			err = coppice.NoVM(id)
		}
		return err
	}
	return cmp.Or(err, refused)
}

func unauthorized(r *http.Request, reason string) error {
	return coppice.Errorf(coppice.CodeUnauthorized, "%s", reason).
		With("route", r.Method+" "+r.URL.Path).With("reason", reason)
}

type callerKey struct{}

// admitting lets only those through whom a route is for.
func (s *Server) admitting(who audience) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return s.handle(func(w http.ResponseWriter, r *http.Request) error {
			return s.admit(who, r, func(ctx context.Context, c caller) {
				r := r.WithContext(context.WithValue(ctx, callerKey{}, c))
				if err := s.throttle.admit(w, c.Account); err != nil {
					s.fail(w, r, err)
					return
				}
				next.ServeHTTP(w, r)
			})
		})
	}
}

// admitted returns whom [Server.admitting] let through. It is for bindings,
// which hand it to their handlers.
func admitted(r *http.Request) caller { return r.Context().Value(callerKey{}).(caller) }
