package http

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
)

// burst is for how many seconds' requests may come at once.
const burst = 10

// A throttle lets each account make so many requests in a second. A rate of 0 is no limit.
type throttle struct {
	rate int
	mu   sync.Mutex
	due  map[coppice.AccountID]time.Time // when an account's next request would come at that rate
}

// wait returns for how long an account has to wait before its next request; 0 if
// it may make that now, which then counts.
func (t *throttle) wait(account coppice.AccountID) time.Duration {
	if t.rate == 0 || account == "" {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now, every := time.Now(), time.Second/time.Duration(t.rate)
	due := t.due[account]
	if due.Before(now) {
		due = now
	}
	if early := due.Sub(now) + every - burst*time.Second; early > 0 {
		return early
	}
	t.due[account] = due.Add(every)
	return 0
}

// admit returns an error if an account has made more requests than it may.
func (t *throttle) admit(w http.ResponseWriter, account coppice.AccountID) error {
	wait := t.wait(account)
	if wait == 0 {
		return nil
	}
	seconds := int(math.Ceil(wait.Seconds()))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	atOnce := t.rate * burst
	return at(http.StatusTooManyRequests, coppice.Errorf(coppice.CodeLimitExceeded,
		"the account makes more requests than the %d a second, or %d at once, that it may (--request-rate of the daemon); try again in %d s", t.rate, atOnce, seconds).
		With("limit", atOnce).With("current", atOnce))
}
