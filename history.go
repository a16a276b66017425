package coppice

import (
	"context"
	"time"
)

// An Event is something that was done to a VM, or happened to it. It is written
// in the transaction that changes the VM's row, and never changes.
type Event struct {
	// Seq is larger than that of every earlier event, and never used twice. The
	// store gives it.
	Seq int64
	At  time.Time
	// VM it happened to, and whose that is. The store takes them from the row.
	VM      VMID
	Account AccountID
	// Verb is what was done; [Idle] if a daemon only found out what had happened.
	Verb  Verb
	State State // of the VM from then on
	// Failed means that the verb was not done.
	Failed bool
	// Reason says in a sentence why it happened, if nobody asked for it, or why
	// the verb failed. It may be empty.
	Reason string
	Took   time.Duration
}

// A History remembers events. They get there by [Store.UpdateVM].
type History interface {
	// Events lists the events that filter selects, oldest first.
	Events(ctx context.Context, filter EventFilter) ([]Event, error)
	// ForgetEvents forgets the events of VMs that were deleted before then, and
	// returns how many those were.
	ForgetEvents(ctx context.Context, before time.Time) (int, error)
}

// An EventFilter selects events. The zero value selects none.
type EventFilter struct {
	Account AccountID // empty: of every account
	VM      VMID      // empty: of every VM
	After   int64     // only those with a larger Seq
	Limit   int       // at most so many
	// Newest selects the last that there are, rather than the first.
	Newest bool
}
