package http

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// traceKey is what a request is known by on its way through this package.
type traceKey struct{}

func traceOf(ctx context.Context) string {
	id, _ := ctx.Value(traceKey{}).(string)
	return id
}

// trace gives every request an id, for the answer and the log.
func (s *Server) trace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b [8]byte
		rand.Read(b[:]) // never fails; see crypto/rand
		id := hex.EncodeToString(b[:])
		w.Header().Set(api.HeaderTrace, id)
		w.Header().Set("X-Content-Type-Options", "nosniff") // what guests send is not to be taken for a page
		next.ServeHTTP(&recorder{ResponseWriter: w, taking: s.slowest.taking}, r.WithContext(context.WithValue(r.Context(), traceKey{}, id)))
	})
}

// logged writes a line for every request, without its query, headers and body,
// has it counted, and has what is done for it followed.
func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		r, answered := s.config.Traces.Request(r)
		defer func() {
			rec, ended := w.(*recorder), time.Now()
			if rec.status == 0 {
				rec.begun = ended
			}
			route := chi.RouteContext(r.Context()).RoutePattern()
			answered(route, rec.status, rec.code)
			s.config.Log.Log(r.Context(), levelOf(r.Method, rec.status), "request", "trace", traceOf(r.Context()), "method", r.Method, "path", r.URL.Path,
				"status", rec.status, "took", ended.Sub(began).Round(time.Microsecond))
			s.config.Metrics.Answered(r.Method, route, rec.status, rec.begun.Sub(began))
		}()
		next.ServeHTTP(w, r)
	})
}

// levelOf returns the level at which a request is logged. Who only looks, which
// a page that is left open does all the time, must not hide what was done. A
// WebSocket begins with a GET too, but what goes over it does something.
func levelOf(method string, status int) slog.Level {
	if method == http.MethodGet && status < 400 && status != http.StatusSwitchingProtocols {
		return slog.LevelDebug
	}
	return slog.LevelInfo
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

// A recorder remembers how a request was answered.
type recorder struct {
	http.ResponseWriter
	status int           // 0 until the answer has begun
	begun  time.Time     // the answer
	code   coppice.Code  // of the error that is the answer
	taking time.Duration // how long a client may take over any of it
}

// answered reports whether an answer has begun.
func answered(w http.ResponseWriter) bool { return w.(*recorder).status != 0 }

func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 && status != http.StatusContinue {
		rec.status, rec.begun = status, time.Now()
	}
	rec.ResponseWriter.WriteHeader(status)
}

// Write writes a piece at a time, each of which a client may take its time over.
func (rec *recorder) Write(b []byte) (n int, err error) {
	if rec.status == 0 {
		rec.status, rec.begun = http.StatusOK, time.Now()
	}
	for piece := range slices.Chunk(b, outputPiece) {
		_ = http.NewResponseController(rec.ResponseWriter).SetWriteDeadline(time.Now().Add(rec.taking)) // fails if the connection is gone
		written, err := rec.ResponseWriter.Write(piece)
		if n += written; err != nil {
			return n, err
		}
	}
	return n, nil
}

// Unwrap lets http.ResponseController flush and hijack.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }
