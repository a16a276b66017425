package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coppice-vm/coppice"
)

// statusOf is the HTTP status that goes with a code, as the contract documents it.
var statusOf = map[coppice.Code]int{
	coppice.CodeUnauthorized:     http.StatusUnauthorized,
	coppice.CodeForbidden:        http.StatusForbidden,
	coppice.CodeNotFound:         http.StatusNotFound,
	coppice.CodeInvalidRequest:   http.StatusBadRequest,
	coppice.CodeUnavailable:      http.StatusServiceUnavailable,
	coppice.CodeInternal:         http.StatusInternalServerError,
	coppice.CodeConflict:         http.StatusConflict,
	coppice.CodeInvalidVMID:      http.StatusBadRequest,
	coppice.CodeVMNotFound:       http.StatusNotFound,
	coppice.CodeVMDeleted:        http.StatusGone,
	coppice.CodeVMNotRunning:     http.StatusBadRequest,
	coppice.CodeVMSuspending:     http.StatusConflict,
	coppice.CodeStillCreating:    http.StatusConflict,
	coppice.CodeStartTimeout:     http.StatusGatewayTimeout,
	coppice.CodeExitDuringStart:  http.StatusInternalServerError,
	coppice.CodeSpawnProcess:     http.StatusInternalServerError,
	coppice.CodeKernelPanic:      http.StatusInternalServerError,
	coppice.CodeNoMemory:         http.StatusServiceUnavailable,
	coppice.CodeNoStorage:        http.StatusServiceUnavailable,
	coppice.CodeCreateBadRequest: http.StatusBadRequest,
	coppice.CodeVCPUNotPower:     http.StatusBadRequest,
	coppice.CodeVCPURange:        http.StatusBadRequest,
	coppice.CodeMemNotPower:      http.StatusBadRequest,
	coppice.CodeMemRange:         http.StatusBadRequest,
	coppice.CodeRootfsRange:      http.StatusBadRequest,
	coppice.CodeResizeEmpty:      http.StatusBadRequest,
	coppice.CodeResizeVCPURange:  http.StatusBadRequest,
	coppice.CodeResizeVCPUPower:  http.StatusBadRequest,
	coppice.CodeResizeMemRange:   http.StatusBadRequest,
	coppice.CodeResizeMemPower:   http.StatusBadRequest,
	coppice.CodeResizeShrinks:    http.StatusBadRequest,
	coppice.CodeRootfsTooLarge:   http.StatusBadRequest,
	coppice.CodeResizeFailed:     http.StatusInternalServerError,
	coppice.CodeTotalVMLimit:     http.StatusForbidden,
	coppice.CodeVMLimit:          http.StatusForbidden,
	coppice.CodeVCPUOverPlan:     http.StatusForbidden,
	coppice.CodeMemOverPlan:      http.StatusForbidden,
	coppice.CodeRootfsOverPlan:   http.StatusForbidden,
	coppice.CodeLimitExceeded:    http.StatusForbidden,
	coppice.CodeRootfsQuota:      http.StatusForbidden,
	coppice.CodeSnapshotLimit:    http.StatusForbidden,
	coppice.CodeInvalidSnapID:    http.StatusBadRequest,
	coppice.CodeSnapshotNotFound: http.StatusNotFound,
	coppice.CodeSnapBadRequest:   http.StatusBadRequest,
	coppice.CodeExecTimedOut:     http.StatusRequestTimeout,
	coppice.CodeExecEmpty:        http.StatusBadRequest,
	coppice.CodeUserNotFound:     http.StatusNotFound,
	coppice.CodeFilesBadRequest:  http.StatusBadRequest,
	coppice.CodeInvalidDomain:    http.StatusBadRequest,
	coppice.CodeDomainExists:     http.StatusBadRequest,
	coppice.CodeNoDomainOwner:    http.StatusForbidden,
	coppice.CodeFileNotFound:     http.StatusNotFound,

	coppice.CodeIdentityNotFound:     http.StatusNotFound,
	coppice.CodePermissionExists:     http.StatusConflict,
	coppice.CodeVMPermissionNotFound: http.StatusNotFound,
	coppice.CodeInvalidSessionID:     http.StatusBadRequest,
	coppice.CodeSessionNotFound:      http.StatusNotFound,
	coppice.CodeSessionExists:        http.StatusConflict,
	coppice.CodeSessionExpired:       http.StatusGone,
	coppice.CodeSessionUser:          http.StatusForbidden,
	coppice.CodeSessionCapReached:    http.StatusTooManyRequests,
}

// A failure is an error as it is sent. It is also what huma refuses with.
type failure struct {
	status int
	err    *coppice.Error
}

// at gives err another status than its code's.
func at(status int, err *coppice.Error) *failure { return &failure{status, err} }

func (f *failure) Error() string  { return f.err.Error() }
func (f *failure) Unwrap() error  { return f.err }
func (f *failure) GetStatus() int { return f.status }

// MarshalJSON writes the body the contract wants: the code's own fields, and
// the code twice, for both shapes that clients look for.
func (f *failure) MarshalJSON() ([]byte, error) {
	body := map[string]any{}
	maps.Copy(body, f.err.Fields)
	body["code"] = f.err.Code
	body["error"] = f.err.Code
	body["message"] = f.err.Message
	return json.Marshal(body)
}

func init() {
	// huma offers no other place to say what its refusals look like.
	huma.NewError = refuse
}

// refuse is the error of a request that huma could not take.
func refuse(status int, msg string, errs ...error) huma.StatusError {
	switch status {
	case http.StatusUnprocessableEntity, http.StatusInternalServerError: // the latter for a body that broke off
		status = http.StatusBadRequest
	}
	for i, err := range errs {
		// Without the value, which may be the whole body.
		if d, ok := errs[i].(huma.ErrorDetailer); ok {
			err = errors.New(strings.TrimPrefix(d.ErrorDetail().Location+": ", ": ") + d.ErrorDetail().Message)
		}
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		msg += sep + err.Error()
	}
	if status == http.StatusUnsupportedMediaType {
		msg += "; send Content-Type: application/json"
	}
	return at(status, coppice.Errorf(coppice.CodeInvalidRequest, "%s", msg))
}

// translate returns what a user is told of an error.
func translate(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	e, ok := errors.AsType[*coppice.Error](err)
	if !ok {
		e = translateBare(err)
	}
	status, ok := statusOf[e.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	return at(status, e)
}

// translateBare says in the contract's words what the ports' errors mean to a user.
func translateBare(err error) *coppice.Error {
	switch {
	case errors.Is(err, errLeaving):
		return coppice.Errorf(coppice.CodeUnavailable, "the daemon is stopping; its VMs run on. Try again when it is back").Because(err)
	case errors.Is(err, coppice.ErrRevoked):
		return coppice.Errorf(coppice.CodeUnauthorized, "%s", revoked).Because(err)
	case errors.Is(err, coppice.ErrNoUser):
		return coppice.Errorf(coppice.CodeUserNotFound, "the guest knows no such user").Because(err)
	case errors.Is(err, coppice.ErrGuestGone):
		return coppice.Errorf(coppice.CodeUnavailable, "the connection to the guest broke, maybe because the VM stopped; try again").Because(err)
	}
	return coppice.Errorf(coppice.CodeInternal, "something went wrong inside coppice; the daemon's log says what, under the id in the header x-freestyle-trace-id").Because(err)
}

const revoked = "the key or token that this began with was revoked, or what is granted to it has changed"

// fileError says what is wrong with a file.
func fileError(err error, name string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return coppice.Errorf(coppice.CodeFileNotFound, "there is no %s in the guest", name).With("path", name).Because(err)
	case errors.Is(err, fs.ErrPermission):
		return coppice.Errorf(coppice.CodeFilesBadRequest, "the user may not do that with %s", name).With("path", name).Because(err)
	case errors.Is(err, fs.ErrInvalid):
		return coppice.Errorf(coppice.CodeFilesBadRequest, "that cannot be done with %s, because of what it is", name).With("path", name).Because(err)
	}
	return err
}

// startError says why a guest could not start a program, where that is due to what was
// asked for: a directory that is not there, a command that is too long.
func startError(err error, program string) error {
	if errors.Is(err, fs.ErrInvalid) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return coppice.Errorf(coppice.CodeInvalidRequest, "the guest could not start %s: %s", program, strings.TrimSpace(err.Error())).Because(err)
	}
	return err
}

// fail answers with an error, or logs why there can be no answer.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	ctx := r.Context()
	log := s.config.Log.With("trace", traceOf(ctx), "method", r.Method, "path", r.URL.Path, "error", err)
	if cause := context.Cause(ctx); errors.Is(cause, errLeaving) {
		err = fmt.Errorf("%w: %w", errLeaving, err)
	} else if errors.Is(cause, coppice.ErrRevoked) {
		err = unauthorized(r, revoked)
	} else if cause != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // or it is the client that was not waited for
		log.Debug("the client left")
		panic(http.ErrAbortHandler)
	}
	if answered(w) {
		// The status can only be taken back by breaking off, so that nobody
		// takes the half for the whole.
		log.Warn("broke off an answer")
		panic(http.ErrAbortHandler)
	}
	f := translate(err)
	if f.status >= 500 && f.status != http.StatusNotImplemented {
		log.Error("request failed")
	} else if f.err.Err != nil {
		log.Log(ctx, slog.LevelInfo, "request refused")
	}
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.Header().Set("Content-Type", "application/json")
	w.(*recorder).code = f.err.Code
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(f) // the client may have left
}

// writeJSON answers with a value.
func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}
