package mem

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/coppice-vm/coppice"
)

// record adds events of a VM. The caller holds s.mu.
func (s *Store) record(vm coppice.VM, events []coppice.Event) {
	for _, e := range events {
		s.lastSeq++
		e.Seq, e.VM, e.Account = s.lastSeq, vm.ID, vm.Account
		s.events = append(s.events, e)
	}
}

// Events implements [coppice.History].
func (s *Store) Events(ctx context.Context, filter coppice.EventFilter) ([]coppice.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var events []coppice.Event
	for _, e := range s.events {
		if e.Seq > filter.After && (filter.Account == "" || filter.Account == e.Account) && (filter.VM == "" || filter.VM == e.VM) {
			events = append(events, e)
		}
	}
	if n := min(filter.Limit, len(events)); filter.Newest {
		return events[len(events)-n:], nil
	} else {
		return events[:n], nil
	}
}

// ForgetEvents implements [coppice.History].
func (s *Store) ForgetEvents(ctx context.Context, before time.Time) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("forget events: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	had := len(s.events)
	s.events = slices.DeleteFunc(s.events, func(e coppice.Event) bool {
		vm := s.vms[e.VM]
		return vm.Deleted() && vm.DeletedAt.Before(before)
	})
	return had - len(s.events), nil
}
