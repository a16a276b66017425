package lifecycle

import (
	"context"
	"slices"
	"sync"
	"time"
)

const stockRetry = time.Minute // after something could not be made, or was of no use

// A stock is things made ahead, so that whoever needs one finds it.
type stock[T any] struct {
	want  int
	quiet time.Duration // when something has been taken, before more is made
	taken chan struct{} // holds a token when something has been taken
	lost  chan struct{} // holds a token when something has been dropped

	mu    sync.Mutex
	items []T
}

func newStock[T any](want int, quiet time.Duration) *stock[T] {
	return &stock[T]{want: want, quiet: quiet, taken: make(chan struct{}, 1), lost: make(chan struct{}, 1)}
}

// keep has things made, and put here, whenever there are fewer than there should
// be, until ctx ends. failed hears of what could not be made, before that is tried
// again.
func (s *stock[T]) keep(ctx context.Context, make func(context.Context) error, failed func(error)) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.taken:
			wait.Reset(s.quiet)
		case <-s.lost:
			wait.Reset(stockRetry)
		case <-wait.C:
			if s.full() {
				continue
			}
			wait.Reset(0)
			if err := make(ctx); err != nil && ctx.Err() == nil {
				failed(err)
				wait.Reset(stockRetry)
			}
		}
	}
}

func (s *stock[T]) full() bool { return s.len() >= s.want }

func (s *stock[T]) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.items)
}

func (s *stock[T]) put(item T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = append(s.items, item)
}

// take returns the oldest thing if it fits; false if it does not or there is none.
func (s *stock[T]) take(fits func(T) bool) (item T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.items) == 0 || !fits(s.items[0]) {
		return item, false
	}
	item, s.items = s.items[0], s.items[1:]
	say(s.taken)
	return item, true
}

// drop takes out the thing that is not to be kept, and reports whether it was there.
func (s *stock[T]) drop(is func(T) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.items, is)
	if i < 0 {
		return false
	}
	s.items = slices.Delete(s.items, i, i+1)
	say(s.lost)
	return true
}

// say puts a token in a channel, if there is none.
func say(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}

// empty takes everything.
func (s *stock[T]) empty() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := s.items
	s.items = nil
	return items
}
