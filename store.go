package coppice

import (
	"context"
	"time"
)

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
	// changed. UpdateVM returns the row as written.
	UpdateVM(ctx context.Context, id VMID, change func(*VM) error) (VM, error)
}

// A VMFilter selects VMs. The zero value selects every VM that is not a tombstone.
type VMFilter struct {
	Account AccountID // empty: of every account
	Deleted bool      // tombstones too
}

// Accounts remembers who may use the host. Secrets are kept only as hashes.
type Accounts interface {
	// InsertAccount adds an account. [ErrExists] if the id is taken.
	InsertAccount(ctx context.Context, a Account) error
	// InsertKey adds an API key. [ErrExists] if the hash is taken, [ErrNoAccount]
	// if the account is not there.
	InsertKey(ctx context.Context, k APIKey) error
	// KeyByHash returns the key with that hash. [ErrNoKey] if there is none.
	KeyByHash(ctx context.Context, hash KeyHash) (APIKey, error)
}

// SystemAccount owns what the host makes for itself, and has no keys.
const SystemAccount AccountID = "system"

// An Account owns VMs.
type Account struct {
	ID        AccountID
	Name      string
	CreatedAt time.Time
}

// A KeyHash is the SHA-256 of an API key's secret. A secret has 256 random
// bits, so a plain hash gives nothing away.
type KeyHash [32]byte

// An APIKey lets its bearer act for an account.
type APIKey struct {
	Hash      KeyHash
	Account   AccountID
	Name      string
	CreatedAt time.Time
}
