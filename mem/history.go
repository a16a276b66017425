package mem

import (
	"context"
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
func (s *Store) Events(ctx context.Context, filter coppice.EventFilter) (events []coppice.Event, err error) {
	err = s.locked(ctx, "list events", func() error {
		for _, e := range s.events {
			if e.Seq > filter.After && (filter.Account == "" || filter.Account == e.Account) && (filter.VM == "" || filter.VM == e.VM) {
				events = append(events, e)
			}
		}
		if n := min(filter.Limit, len(events)); filter.Newest {
			events = events[len(events)-n:]
		} else {
			events = events[:n]
		}
		return nil
	})
	return events, err
}

// ForgetEvents implements [coppice.History].
func (s *Store) ForgetEvents(ctx context.Context, before time.Time) (forgotten int, err error) {
	err = s.locked(ctx, "forget events", func() error {
		had := len(s.events)
		s.events = slices.DeleteFunc(s.events, func(e coppice.Event) bool {
			vm := s.vms[e.VM]
			return vm.Deleted() && vm.DeletedAt.Before(before)
		})
		forgotten = had - len(s.events)
		return nil
	})
	return forgotten, err
}
