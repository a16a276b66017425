// Package undo collects how to take back what has been done so far, so that a
// sequence of acquisitions that fails in the middle leaves nothing behind.
package undo

import (
	"context"
	"errors"
	"time"
)

// A Stack holds undo steps. The zero value is ready to use; it is not safe for
// concurrent use.
type Stack struct {
	steps []func(context.Context) error
}

// Push adds a step. Steps run in the reverse of the order they were pushed in.
func (s *Stack) Push(step func(context.Context) error) {
	s.steps = append(s.steps, step)
}

// Run runs and forgets every step, each even if others fail, within limit in
// all. The steps get a context of their own that keeps ctx's values but not its
// end: work is taken back above all when ctx has ended.
func (s *Stack) Run(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	var errs []error
	for i := len(s.steps) - 1; i >= 0; i-- {
		errs = append(errs, s.steps[i](ctx))
	}
	s.steps = nil
	return errors.Join(errs...)
}

// Keep forgets every step: what was done stays.
func (s *Stack) Keep() { s.steps = nil }
