package undo_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/coppice-vm/coppice/internal/undo"
)

func TestRunInReverseDespiteFailuresAndCancelledContext(t *testing.T) {
	var s undo.Stack
	var ran []int
	broken := errors.New("broken")
	for i := range 3 {
		s.Push(func(ctx context.Context) error {
			ran = append(ran, i)
			if ctx.Err() != nil {
				t.Errorf("step %d: context has ended: %v", i, ctx.Err())
			}
			if _, ok := ctx.Deadline(); !ok {
				t.Errorf("step %d: no deadline", i)
			}
			if i == 1 {
				return broken
			}
			return nil
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx, time.Minute); !errors.Is(err, broken) {
		t.Errorf("Run = %v, want %v", err, broken)
	}
	if want := []int{2, 1, 0}; !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
	if err := s.Run(ctx, time.Minute); err != nil || len(ran) != 3 {
		t.Errorf("second Run = %v and ran %v, want nothing done", err, ran)
	}
}

func TestKeep(t *testing.T) {
	var s undo.Stack
	s.Push(func(context.Context) error { return errors.New("must not run") })
	s.Keep()
	if err := s.Run(context.Background(), time.Minute); err != nil {
		t.Error(err)
	}
}
