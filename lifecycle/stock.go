package lifecycle

import (
	"context"
	"sync"
	"time"
)

const stockRetry = time.Minute // after something could not be made

// A stock is things made ahead, so that whoever needs one finds it.
type stock[T any] struct {
	want  int
	quiet time.Duration // when something has been taken, before more is made
	taken chan struct{} // holds a token when something has been taken

	mu    sync.Mutex
	items []T
}

func newStock[T any](want int, quiet time.Duration) *stock[T] {
	return &stock[T]{want: want, quiet: quiet, taken: make(chan struct{}, 1)}
}

// keep makes things whenever there are fewer than there should be, until ctx
// ends. failed hears of what could not be made, before that is tried again.
func (s *stock[T]) keep(ctx context.Context, make func(context.Context) (T, error), failed func(error)) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.taken:
			wait.Reset(s.quiet)
		case <-wait.C:
			if s.full() {
				continue
			}
			wait.Reset(0)
			item, err := make(ctx)
			switch {
			case err == nil:
				s.put(item)
			case ctx.Err() == nil:
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
	select {
	case s.taken <- struct{}{}:
	default: // it has been said
	}
	return item, true
}

// empty takes everything.
func (s *stock[T]) empty() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := s.items
	s.items = nil
	return items
}
