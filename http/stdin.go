package http

import (
	"io"
	"sync"

	"github.com/coppice-vm/coppice/api"
)

// A stdin holds what a client has sent and a command has not yet read.
type stdin struct {
	mu      sync.Mutex
	changed sync.Cond
	unread  []byte
	err     error // of the end: io.EOF, or why there will be no more
	// taken is called when the command has read n bytes.
	taken func(n int) error
}

func newStdin() *stdin {
	in := &stdin{}
	in.changed.L = &in.mu
	return in
}

// add appends what came from the client. It waits as long as more than the
// window is unread.
func (in *stdin) add(p []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.unread) > api.StdinWindow && in.err == nil {
		in.changed.Wait()
	}
	if in.err == nil {
		in.unread = append(in.unread, p...)
		in.changed.Broadcast()
	}
}

// end says that nothing will be added.
func (in *stdin) end() { in.finish(io.EOF, false) }

// close ends all reading and adding.
func (in *stdin) close(err error) { in.finish(err, true) }

func (in *stdin) finish(err error, drop bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err == nil || drop {
		in.err = err
	}
	if drop {
		in.unread = nil
	}
	in.changed.Broadcast()
}

// Read waits for something to read.
func (in *stdin) Read(p []byte) (int, error) {
	in.mu.Lock()
	for len(in.unread) == 0 && in.err == nil {
		in.changed.Wait()
	}
	n := copy(p, in.unread)
	in.unread = in.unread[n:]
	if len(in.unread) == 0 {
		in.unread = nil // a fresh start, so that the array does not creep
	}
	err := in.err
	in.changed.Broadcast()
	in.mu.Unlock()
	if n == 0 {
		return 0, err
	}
	return n, in.taken(n)
}
