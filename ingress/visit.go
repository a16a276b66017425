package ingress

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coppice-vm/coppice"
)

// Access knows whose a secret is. A context that it calls do with ends when the
// secret is revoked.
type Access interface {
	// ByKey calls do with whom the API key secret acts for. [coppice.ErrNoKey] if there is none.
	ByKey(ctx context.Context, secret string, do func(context.Context, coppice.Principal)) error
	// ByToken calls do with whom the identity's token secret acts for, with the
	// grant for vm if that is not empty. [coppice.ErrNoToken] if there is no such
	// token, [coppice.ErrNoGrant] if there is no grant.
	ByToken(ctx context.Context, secret string, vm coppice.VMID, do func(context.Context, coppice.Principal)) error
}

const (
	// signInPath is no VM's: what is typed on the page does not go to a VM that
	// has become public meanwhile.
	signInPath = "/.coppice/sign-in"
	maxSignIn  = 64 << 10
	// maxBearers is how many secrets are looked up for one request: one may be the
	// visitor's, others of the program that it visits.
	maxBearers  = 4
	visitorTime = 24 * time.Hour // that a browser stays signed in
)

// admit calls do for a request that may visit a VM, until what it shows for that
// is revoked. ours says that it has a key or token of this host's in its header.
func (s *Server) admit(r *http.Request, vm *coppice.VM, do func(ctx context.Context, ours bool) error) error {
	borne := bearers(r)
	if len(borne) > maxBearers {
		return coppice.Errorf(coppice.CodeInvalidRequest, "the request bears %d keys or tokens; it may bear %d", len(borne), maxBearers)
	}
	ours := slices.ContainsFunc(borne, func(secret string) bool { return s.knows(r.Context(), secret) })
	if !vm.Private {
		return do(r.Context(), ours)
	}
	for _, secret := range append(s.config.Sessions.of(r), borne...) {
		var outcome error
		err := s.visit(r.Context(), secret, vm, func(ctx context.Context) { outcome = do(ctx, ours) })
		if !stranger(err) {
			return errors.Join(err, outcome)
		}
	}
	return isPrivate(vm)
}

// bearers returns the secrets in a request's header.
func bearers(r *http.Request) (secrets []string) {
	for _, value := range r.Header.Values("Authorization") {
		scheme, secret, _ := strings.Cut(strings.TrimSpace(value), " ")
		if strings.EqualFold(scheme, "Bearer") {
			secrets = append(secrets, strings.TrimSpace(secret))
		}
	}
	return secrets
}

// knows reports whether a secret is one of this host's, or may be.
func (s *Server) knows(ctx context.Context, secret string) bool {
	nothing := func(context.Context, coppice.Principal) {}
	err := s.config.Access.ByKey(ctx, secret, nothing)
	if errors.Is(err, coppice.ErrNoKey) {
		err = s.config.Access.ByToken(ctx, secret, "", nothing)
	}
	return !errors.Is(err, coppice.ErrNoToken)
}

// visit calls do if the bearer of a secret may visit a VM. The error of one who
// may not is a [stranger]'s.
func (s *Server) visit(ctx context.Context, secret string, vm *coppice.VM, do func(context.Context)) error {
	var refused error
	enter := func(ctx context.Context, who coppice.Principal) {
		if who.Account != vm.Account {
			refused = coppice.ErrNoGrant
			return
		}
		do(ctx)
	}
	err := s.config.Access.ByKey(ctx, secret, enter)
	if errors.Is(err, coppice.ErrNoKey) {
		err = s.config.Access.ByToken(ctx, secret, vm.ID, enter)
	}
	return errors.Join(err, refused)
}

func stranger(err error) bool {
	return errors.Is(err, coppice.ErrNoToken) || errors.Is(err, coppice.ErrNoGrant)
}

func isPrivate(vm *coppice.VM) error {
	return coppice.Errorf(coppice.CodeUnauthorized,
		"VM %s is private: it is for who shows an API key of its account, or a token that was granted it", vm.ID).With("vmId", vm.ID)
}

// signIn has the browser of one who shows a key or token visit a VM without from
// now on, for a while.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request, vm *coppice.VM) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxSignIn)
	switch {
	case !vm.Private:
		http.Redirect(w, r, returnTo(r), http.StatusSeeOther)
		return nil
	case r.Method != http.MethodPost:
		return isPrivate(vm)
	}
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return coppice.Errorf(coppice.CodeForbidden, "only the page of %s itself signs in", r.Host)
	}
	secret := strings.TrimSpace(r.PostFormValue("secret"))
	err := s.visit(r.Context(), secret, vm, func(context.Context) {})
	switch {
	case stranger(err):
		return coppice.Errorf(coppice.CodeUnauthorized, "that is no key or token that may visit VM %s", vm.ID).With("vmId", vm.ID)
	case err != nil:
		return err
	}
	http.SetCookie(w, s.config.Sessions.begin(r, secret))
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, returnTo(r), http.StatusSeeOther)
	return nil
}

// returnTo is where a visitor wanted to go, on this host.
func returnTo(r *http.Request) string {
	if r.URL.Path != signInPath {
		return r.URL.RequestURI()
	}
	to, err := url.Parse(r.PostFormValue("to"))
	if err != nil || to.Host != "" || to.Scheme != "" || !strings.HasPrefix(to.EscapedPath(), "/") || strings.HasPrefix(to.Path, "//") {
		return "/"
	}
	return to.RequestURI()
}
