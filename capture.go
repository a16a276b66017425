package coppice

import (
	"context"
	"time"
)

// A Capture is a VM frozen at one instant: its disk and, if it is Live, its
// memory and devices. It never changes. What resumes, forks and snapshots start
// from are all captures; one is removed when nothing needs it any more.
type Capture struct {
	ID      CaptureID
	Account AccountID // [SystemAccount] for the host's own
	Name    string    // may be empty
	// Source is the VM it was taken of, in the run Instance.
	Source   VMID
	Instance InstanceID
	// Image that VMs made from the capture boot from, when they boot.
	Image ImageID
	Size  Size
	// Live captures hold a running machine. The others hold the disk of one
	// that was shut down.
	Live bool
	// Keep holds the capture even if no VM needs it: a snapshot that has not
	// been deleted, or the host's own.
	Keep        bool
	Persistence Persistence
	CreatedAt   time.Time
	// DeletedAt is when the snapshot was deleted, if VMs still need it.
	DeletedAt time.Time
}

// Captures remembers captures. A VM whose Base names a capture needs it: a row
// with a Base that is not there cannot be written ([ErrNoCapture]). Accounts are
// held to their limits: see [Quotas].
type Captures interface {
	// InsertCapture adds a capture. [ErrExists] if the id is taken.
	InsertCapture(ctx context.Context, c Capture) error
	// Capture returns a capture. [ErrNoCapture] if there is none.
	Capture(ctx context.Context, id CaptureID) (Capture, error)
	// Captures lists an account's captures, oldest first; for the empty
	// account, everyone's.
	Captures(ctx context.Context, account AccountID) ([]Capture, error)
	// UpdateCapture changes a capture as [Store.UpdateVM] changes a VM. ID,
	// Account and CreatedAt may not be changed.
	UpdateCapture(ctx context.Context, id CaptureID, change func(*Capture) error) (Capture, error)
	// DropCapture forgets a capture that is not kept and that no VM needs, in
	// one transaction; [ErrInUse] otherwise. nil if there is none.
	DropCapture(ctx context.Context, id CaptureID) error
}
