package moving

import (
	"sync/atomic"
	"time"
)

// answerTime is how long somebody who has typed, and was shown nothing since,
// waits for an answer.
const answerTime = 10 * time.Second

// A Question is what was typed into a terminal and has no answer yet. The zero
// Question is none.
type Question struct {
	asked atomic.Int64 // in nanoseconds since 1970
}

// Ask takes note that something was typed.
func (q *Question) Ask() { q.asked.Store(time.Now().UnixNano()) }

// Answered takes note that something was shown.
func (q *Question) Answered() { q.asked.Store(0) }

// Take reports whether somebody waits for an answer. It is true once for what was
// typed: whoever takes it sees to the answer.
func (q *Question) Take() bool {
	return time.Since(time.Unix(0, q.asked.Swap(0))) < answerTime
}
