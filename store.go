package coppice

import "context"

// A Store remembers VMs. What it has acknowledged survives a crash of the
// daemon and of the host. It holds accounts to their limits: see [Quotas].
type Store interface {
	// InsertVM adds a VM. [ErrExists] if the id is taken, also by a tombstone.
	InsertVM(ctx context.Context, vm VM) error
	// VM returns a VM, tombstones included. [ErrNoVM] if there is none.
	VM(ctx context.Context, id VMID) (VM, error)
	// VMs lists the VMs that filter selects, oldest first.
	VMs(ctx context.Context, filter VMFilter) ([]VM, error)
	// UpdateVM is the only way a row changes: in one transaction it reads the
	// VM, lets change edit it, and writes it back. An error from change leaves
	// the row as it was and is returned as it is. change may not call the
	// store and may be called only once. ID, Account and CreatedAt may not be
	// changed. The events are added to the VM's [History] in the same
	// transaction. UpdateVM returns the row as written.
	UpdateVM(ctx context.Context, id VMID, change func(*VM) error, events ...Event) (VM, error)
}

// A VMFilter selects VMs. The zero value selects every VM that is not a tombstone.
type VMFilter struct {
	Account AccountID // empty: of every account
	Deleted bool      // tombstones too
}
