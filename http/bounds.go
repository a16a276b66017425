package http

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// A slowness is how slow a client may be before it is taken to be gone. Where
// it is the host or a guest that takes its time, nobody is hurried.
type slowness struct {
	// sending is how long a body is waited for in all, and a second more for
	// each KiB of it that has come.
	sending time.Duration
	// taking is how long it is waited that a client takes some of its answer.
	taking time.Duration
}

// tolerated is what a server puts up with.
var tolerated = slowness{sending: 30 * time.Second, taking: time.Minute}

// bounded keeps clients from holding a connection by sending a body without
// end, or none of it. It goes for a body that nobody reads, too.
func (s *Server) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := http.NewResponseController(w)
		if len(r.TransferEncoding) > 0 {
			// A proxy may have gone by a length beside it, and have let pass as a
			// part of this request what would be the next.
			w.Header().Set("Connection", "close")
		}
		if r.Body != http.NoBody {
			body := &slowBody{ReadCloser: r.Body, conn: conn, patience: s.slowest.sending}
			body.await()
			r.Body = body
		}
		next.ServeHTTP(w, r)
	})
}

// A slowBody is a body that is not waited for without end.
type slowBody struct {
	io.ReadCloser
	mu       sync.Mutex
	conn     *http.ResponseController
	patience time.Duration // that is left; none after end
}

// await has the next Read wait as long as there is patience for.
func (b *slowBody) await() {
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.conn.SetReadDeadline(time.Now().Add(b.patience)) // fails if the connection is gone
}

func (b *slowBody) Read(p []byte) (int, error) {
	b.await()
	began := time.Now()
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.patience += time.Duration(n)*time.Second/1024 - time.Since(began)
	if errors.Is(err, io.EOF) {
		_ = b.conn.SetReadDeadline(time.Time{}) // that the client leaves is still noticed
	}
	return n, err
}

// end lets Read fail from now on.
func (b *slowBody) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.patience = -1 << 62
	_ = b.conn.SetReadDeadline(time.Now())
}
