package http

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// What a request is known by on its way through this package.
type (
	traceKey   struct{}
	accountKey struct{}
)

func traceOf(ctx context.Context) string {
	id, _ := ctx.Value(traceKey{}).(string)
	return id
}

// accountOf returns whose request it is. Only routes of an [owner] have one.
func accountOf(ctx context.Context) coppice.AccountID {
	return ctx.Value(accountKey{}).(coppice.AccountID)
}

// trace gives every request an id, for the answer and the log.
func (s *Server) trace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b [8]byte
		rand.Read(b[:]) // never fails; see crypto/rand
		id := hex.EncodeToString(b[:])
		w.Header().Set(api.HeaderTrace, id)
		next.ServeHTTP(&recorder{ResponseWriter: w}, r.WithContext(context.WithValue(r.Context(), traceKey{}, id)))
	})
}

// logged writes a line for every request, without its query, headers and body.
func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		defer func() {
			s.config.Log.Info("request", "trace", traceOf(r.Context()), "method", r.Method, "path", r.URL.Path,
				"status", w.(*recorder).status, "took", time.Since(began).Round(time.Microsecond))
		}()
		next.ServeHTTP(w, r)
	})
}

// recovered answers for a handler that panicked.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				s.fail(w, r, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// authenticated lets only the bearer of an account's key through.
func (s *Server) authenticated(next http.Handler) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		account, err := s.authenticate(r)
		if err != nil {
			return err
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), accountKey{}, account)))
		return nil
	})
}

func (s *Server) authenticate(r *http.Request) (coppice.AccountID, error) {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case r.Header.Get("Authorization") == "" && r.Header.Get(api.HeaderAccessToken) != "":
		return "", unauthorized(r, "access tokens of identities are not offered yet; send an API key as Authorization: Bearer KEY")
	case !strings.EqualFold(scheme, "Bearer") || secret == "":
		return "", unauthorized(r, "there is no API key; send it as Authorization: Bearer KEY")
	}
	account, err := s.config.Auth.Account(r.Context(), secret)
	if errors.Is(err, coppice.ErrNoKey) {
		return "", unauthorized(r, "the API key is not known here")
	}
	return account, err
}

func unauthorized(r *http.Request, reason string) error {
	return coppice.Errorf(coppice.CodeUnauthorized, "%s", reason).
		With("route", r.Method+" "+r.URL.Path).With("reason", reason)
}

// A recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int // 0 until the answer has begun
}

// answered reports whether an answer has begun.
func answered(w http.ResponseWriter) bool { return w.(*recorder).status != 0 }

func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 && status != http.StatusContinue {
		rec.status = status
	}
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *recorder) Write(b []byte) (int, error) {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	return rec.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController flush and hijack.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }
