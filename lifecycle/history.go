package lifecycle

import (
	"context"
	"time"

	"github.com/coppice-vm/coppice"
)

const (
	maxEvents   = 1000 // in one answer
	forgetEvery = time.Hour
)

// VMHistory lists what happened to an account's VM, oldest first: what came after
// the event of that number, or the last that there is if it is 0. A VM that was
// deleted has a history as long as the host keeps it.
func (m *Manager) VMHistory(ctx context.Context, account coppice.AccountID, id coppice.VMID, after int64) ([]coppice.Event, error) {
	if _, err := m.VM(ctx, account, id); err != nil {
		return nil, err
	}
	return m.History.Events(ctx, coppice.EventFilter{VM: id, After: after, Limit: maxEvents, Newest: after == 0})
}

// Events lists what happened to an account's VMs after the event of that number,
// oldest first: many, but not always all of it.
func (m *Manager) Events(ctx context.Context, account coppice.AccountID, after int64) ([]coppice.Event, error) {
	return m.History.Events(ctx, coppice.EventFilter{Account: account, After: after, Limit: maxEvents})
}

// LastEvent returns the number of the last event of an account's VMs, 0 if there is none.
func (m *Manager) LastEvent(ctx context.Context, account coppice.AccountID) (int64, error) {
	events, err := m.History.Events(ctx, coppice.EventFilter{Account: account, Limit: 1, Newest: true})
	if err != nil || len(events) == 0 {
		return 0, err
	}
	return events[0].Seq, nil
}

// News returns a channel that is closed when something has happened to a VM.
func (m *Manager) News() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.news
}

// tell wakes all who wait for news.
func (m *Manager) tell() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.news)
	m.news = make(chan struct{})
}

// eventOf returns the event of a verb that has led to what vm is now.
func eventOf(vm *coppice.VM, verb coppice.Verb, began time.Time, failed bool) coppice.Event {
	now := time.Now().UTC()
	e := coppice.Event{At: now, Verb: verb, State: vm.State, Failed: failed, Reason: vm.Reason}
	if !began.IsZero() {
		e.Took = max(0, now.Sub(began))
	}
	if verb == coppice.Restore && e.Reason == "" {
		switch {
		case vm.Parent != "":
			e.Reason = "forked from " + string(vm.Parent)
		case vm.Snapshot != "":
			e.Reason = "made from the snapshot " + string(vm.Snapshot)
		}
	}
	return e
}

// forgetEvents forgets the history of VMs that were deleted long ago, until the
// daemon leaves.
func (m *Manager) forgetEvents() {
	timer := time.NewTicker(forgetEvery)
	defer timer.Stop()
	for {
		n, err := m.History.ForgetEvents(m.base, time.Now().Add(-m.KeepHistory))
		switch {
		case err != nil && m.base.Err() == nil:
			m.Log.Error("cannot forget the history of VMs that were deleted long ago", "error", err)
		case n > 0:
			m.Log.Info("forgot the history of VMs that were deleted long ago", "events", n)
		}
		select {
		case <-timer.C:
		case <-m.base.Done():
			return
		}
	}
}
