package moving

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Question
		for _, c := range []struct {
			name string
			do   func()
			want bool
		}{
			{"nothing was typed", func() {}, false},
			{"something was", func() { q.Ask() }, true},
			{"it was taken", func() {}, false},
			{"it was answered", func() { q.Ask(); q.Answered() }, false},
			{"just in time", func() { q.Ask(); time.Sleep(answerTime - 1) }, true},
			{"too late", func() { q.Ask(); time.Sleep(answerTime) }, false},
		} {
			if c.do(); q.Take() != c.want {
				t.Errorf("%s: somebody waits: %t, want %t", c.name, !c.want, c.want)
			}
		}
	})
}
