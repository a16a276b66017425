package qemu

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// retryInterval is how long a guest whose disk could not be written waits
	// before it tries again.
	retryInterval = 5 * time.Second
	// settleTime is after how long a guest that tries again has succeeded: what
	// it could not write it writes at once.
	settleTime = time.Second
)

// waits is what a guest waits for.
type waits struct {
	mu      sync.Mutex
	what    string
	changed chan struct{} // nil before it is asked for
}

// Waits implements [coppice.Run].
func (r *run) Waits() (what string, changed <-chan struct{}) {
	r.waits.mu.Lock()
	defer r.waits.mu.Unlock()
	if r.waits.changed == nil {
		r.waits.changed = make(chan struct{})
	}
	return r.waits.what, r.waits.changed
}

// set says what the guest waits for from now on, maybe nothing, and reports
// whether that is news.
func (w *waits) set(what string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.what == what {
		return false
	}
	w.what = what
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
	return true
}

// whatFor says what a guest waits for whose disk could not be written.
func (r *run) whatFor() string {
	const little = 16 << 20
	var fs unix.Statfs_t
	if err := unix.Statfs(r.machine.Disk, &fs); err == nil && int64(fs.Bavail)*fs.Bsize < little {
		return "the guest waits for space in the pool: its disk cannot be written"
	}
	return "the guest waits for its disk, which cannot be written"
}
