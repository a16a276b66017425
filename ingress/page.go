package ingress

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"maps"
	"net/http"
	"strings"
	"syscall"

	"github.com/coppice-vm/coppice"
)

// headerError has the code of an answer that is ours and not the VM's.
const headerError = "X-Coppice-Error"

//go:embed page.html
var pageSource string

var page = template.Must(template.New("page").Parse(pageSource))

// A problem is an error as it is shown.
type problem struct {
	Status int
	Title  string
	*coppice.Error
}

// A shown problem is one on a page, which leads on from there.
type shown struct {
	*problem
	SignIn, To string
}

// fail answers with what went wrong, or breaks off if nobody is there to be told.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	ctx := r.Context()
	log := s.config.Log.With("host", r.Host, "method", r.Method, "error", err)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errLeaving):
		err = errLeaving
	case cause != nil:
		log.Debug("the client of a VM left")
		panic(http.ErrAbortHandler)
	}
	p := explain(err, passageOf(ctx))
	if p.Status == http.StatusInternalServerError {
		log.Error("cannot pass a request on")
	} else {
		log.Debug("cannot pass a request on")
	}
	w.Header().Set(headerError, string(p.Code))
	w.Header().Set("Cache-Control", "no-store")
	switch p.Status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="coppice"`)
	}
	p.write(w, r)
}

// write answers in HTML to a browser, in JSON to a program.
func (p *problem) write(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		w.WriteHeader(p.Status)
		_ = page.Execute(w, shown{p, signInPath, returnTo(r)}) // the client may have left
		return
	}
	body := map[string]any{}
	maps.Copy(body, p.Fields)
	body["code"], body["error"], body["message"] = p.Code, p.Code, p.Message
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(body)
}

// explain says what an error means to who sent a request. to is nil if the
// request did not get as far as a VM.
func explain(err error, to *passage) *problem {
	if e, ok := errors.AsType[*coppice.Error](err); ok {
		return explainRefusal(e)
	}
	vm := func(e *coppice.Error) *coppice.Error {
		return e.With("vmId", to.to.vm).With("port", to.to.port).Because(err)
	}
	switch {
	case errors.Is(err, errLeaving):
		return &problem{http.StatusServiceUnavailable, "One moment", coppice.Errorf(coppice.CodeUnavailable,
			"the daemon is stopping; its VMs run on. Try again when it is back").Because(err)}
	case to == nil:
		return &problem{http.StatusInternalServerError, "Something went wrong", coppice.Errorf(coppice.CodeInternal,
			"something went wrong inside coppice; the daemon's log says what").Because(err)}
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, coppice.ErrRefused):
		return &problem{http.StatusBadGateway, "Nothing listens here", vm(coppice.Errorf(coppice.CodeUnavailable,
			"nothing listens on port %d of VM %s: start the program that should", to.to.port, to.to.vm))}
	case errors.Is(err, errMoved), errors.Is(err, coppice.ErrGuestGone):
		return &problem{http.StatusServiceUnavailable, "One moment", vm(coppice.Errorf(coppice.CodeUnavailable,
			"VM %s was stopped, suspended or replaced meanwhile; try again", to.to.vm))}
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{http.StatusGatewayTimeout, "No answer", vm(coppice.Errorf(coppice.CodeUnavailable,
			"VM %s did not take a connection to port %d within %v", to.to.vm, to.to.port, dialTimeout))}
	}
	return &problem{http.StatusBadGateway, "No proper answer", vm(coppice.Errorf(coppice.CodeUnavailable,
		"what listens on port %d of VM %s broke the connection, or does not speak HTTP", to.to.port, to.to.vm))}
}

// explainRefusal says why a VM cannot be used.
func explainRefusal(e *coppice.Error) *problem {
	switch e.Code {
	case coppice.CodeNotFound, coppice.CodeVMNotFound:
		return &problem{http.StatusNotFound, "Nothing here", e}
	case coppice.CodeVMDeleted:
		return &problem{http.StatusGone, "Gone", e}
	case coppice.CodeVMNotRunning:
		return &problem{http.StatusServiceUnavailable, "Not running", e}
	case coppice.CodeUnauthorized:
		return &problem{http.StatusUnauthorized, "Private", e}
	case coppice.CodeForbidden:
		return &problem{http.StatusForbidden, "Not from here", e}
	case coppice.CodeInvalidRequest:
		return &problem{http.StatusBadRequest, "That cannot be", e}
	case coppice.CodeUnavailable, coppice.CodeConflict, coppice.CodeVMSuspending, coppice.CodeStillCreating:
		return &problem{http.StatusServiceUnavailable, "One moment", e}
	}
	return &problem{http.StatusServiceUnavailable, "It did not wake", e}
}
