package http

import (
	"net/http"
	"time"
)

// Clients give up: Node's fetch after 300 s without headers, and then after
// 300 s without a byte of the body.
const (
	patienceLimit     = 240 * time.Second
	heartbeatInterval = 20 * time.Second
)

// A patience keeps a client waiting for an answer that may take longer than it
// would wait. After a while it begins a 200 answer in JSON, and sends blank
// lines, which may come before the JSON.
type patience struct {
	quit, done chan struct{}
}

// keepWaiting starts a patience. Nobody else may use w until stop has returned.
func keepWaiting(w http.ResponseWriter) *patience {
	p := &patience{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		beat := time.NewTimer(patienceLimit)
		defer beat.Stop()
		for {
			select {
			case <-p.quit:
				return
			case <-beat.C:
			}
			if !answered(w) {
				w.Header().Set("Content-Type", "application/json")
			}
			if writeLine(w, nil) != nil {
				return // whoever waits for the client finds out, too
			}
			beat.Reset(heartbeatInterval)
		}
	}()
	return p
}

// stop ends the waiting. If the answer has begun, it can only be completed.
func (p *patience) stop() {
	close(p.quit)
	<-p.done
}

// writeLine writes a line at once.
func writeLine(w http.ResponseWriter, line []byte) error {
	if _, err := w.Write(append(line, '\n')); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}
