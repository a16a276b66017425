package guest

import (
	"math"
	"time"

	"github.com/coppice-vm/coppice/guest/wire"
)

const (
	// clockTolerance is how wrong a guest's clock may be, as far as that can be told.
	clockTolerance = 5 * time.Millisecond
	// clockRounds bounds the attempts to tell. A guest that was just restored
	// is slow, and so is one on a busy host.
	clockRounds = 16
)

// setClock asks the guest for its time until it is known well enough, and
// then corrects it, once: whatever minds the time in the guest wakes up each
// time it is set. It returns how wrong the clock was.
func (c *call) setClock() (off time.Duration, err error) {
	doubt := time.Duration(math.MaxInt64)
	for round := 1; round <= clockRounds && doubt > clockTolerance; round++ {
		sent := time.Now()
		if err := wire.WriteJSON(c.stream, wire.Head, wire.Step{}); err != nil {
			return 0, err
		}
		var clock wire.Clock
		if err := c.frames.Answer(&clock); err != nil {
			return 0, err
		}
		// The guest looked at its clock somewhere on the way: in the middle,
		// give or take.
		if d := time.Since(sent) / 2; d < doubt {
			doubt, off = d, time.Unix(0, clock.Now).Sub(sent.Add(d))
		}
	}
	last := wire.Step{Last: true}
	if off.Abs() > max(doubt, clockTolerance) {
		last.Nanoseconds = -off.Nanoseconds()
	}
	return off, wire.WriteJSON(c.stream, wire.Head, last)
}
