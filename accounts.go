package coppice

import (
	"context"
	"time"
)

// SystemAccount owns what the host makes for itself, and has no keys.
const SystemAccount AccountID = "system"

// An Account owns VMs.
type Account struct {
	ID        AccountID
	Name      string // need not be unique
	CreatedAt time.Time
}

// Accounts remembers who owns VMs.
type Accounts interface {
	// InsertAccount adds an account. [ErrExists] if the id is taken, also by an
	// account that was deleted.
	InsertAccount(ctx context.Context, a Account) error
	// Account returns an account. [ErrNoAccount] if there is none, or no more.
	Account(ctx context.Context, id AccountID) (Account, error)
	// Accounts lists accounts, oldest first.
	Accounts(ctx context.Context) ([]Account, error)
	// DeleteAccount forgets an account, its limits and keys, and its identities
	// with their tokens and grants. From then on nothing can be inserted for it:
	// [ErrNoAccount]. [ErrInUse], and nothing is changed, as long as it has VMs
	// that are not tombstones, or captures to keep. [ErrNoAccount] if there is
	// no such account.
	DeleteAccount(ctx context.Context, id AccountID, at time.Time) error
}

// A SecretHash is the SHA-256 of a secret. A secret has 256 random bits, so a
// plain hash gives nothing away.
type SecretHash [32]byte

// An APIKey lets its bearer act for an account.
type APIKey struct {
	ID      KeyID
	Hash    SecretHash
	Account AccountID
	Name    string // need not be unique
	// Admin is true of a key that may manage the host's accounts, too.
	Admin     bool
	CreatedAt time.Time
	// UsedAt is about when it was last used; zero if it never was.
	UsedAt time.Time
}

// Keys remembers API keys.
type Keys interface {
	// InsertKey adds an API key. [ErrExists] if the id or the hash is taken,
	// [ErrNoAccount] if the account is not there.
	InsertKey(ctx context.Context, k APIKey) error
	// KeyByHash returns the key with that hash. [ErrNoKey] if there is none.
	KeyByHash(ctx context.Context, hash SecretHash) (APIKey, error)
	// Keys lists an account's keys, oldest first.
	Keys(ctx context.Context, account AccountID) ([]APIKey, error)
	// UseKey notes that a key was used. Of a key that is not there it notes nothing.
	UseKey(ctx context.Context, id KeyID, at time.Time) error
	// DeleteKey forgets a key of an account. [ErrNoKey] if the account has no such key.
	DeleteKey(ctx context.Context, account AccountID, id KeyID) error
}
