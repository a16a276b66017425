package guest

import (
	"time"

	"github.com/coppice-vm/coppice/guest/wire"
)

const (
	// clockTolerance is how wrong a guest's clock may be, as far as that can be told.
	clockTolerance = 5 * time.Millisecond
	// clockRounds bounds the attempts to tell. On a busy host a guest answers
	// slowly now and then, and what it said is vague.
	clockRounds = 16
)

// setClock asks the guest for its time and corrects it, until it is known to
// be right. It returns the error that was measured last, and corrected.
func (c *call) setClock() (off time.Duration, err error) {
	sent := time.Now()
	for round := 1; ; round++ {
		var clock wire.Clock
		if err := c.frames.Answer(&clock); err != nil {
			return 0, err
		}
		// The guest looked at its clock somewhere on the way: in the middle,
		// give or take.
		doubt := time.Since(sent) / 2
		off = time.Unix(0, clock.Now).Sub(sent.Add(doubt))
		step := wire.Step{Last: round == clockRounds}
		if off.Abs() > max(doubt, clockTolerance) {
			step.Nanoseconds = -off.Nanoseconds()
		} else if doubt <= clockTolerance {
			step.Last = true
		}
		sent = time.Now()
		if err := wire.WriteJSON(c.stream, wire.Head, step); err != nil {
			return off, err
		}
		if step.Last {
			return off, nil
		}
	}
}
