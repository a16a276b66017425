package coppice

import (
	"context"
	"time"
)

// A Mapping has a host name lead to a port of a VM.
type Mapping struct {
	Name      string // a [ValidHostName]
	Account   AccountID
	VM        VMID
	Port      uint16
	CreatedAt time.Time
}

// Mappings remembers where host names lead. A name is one account's at a time.
type Mappings interface {
	// PutMapping has a name lead somewhere: from now on, or, if it is the
	// account's already, there instead. [ErrExists] if it is another account's,
	// [ErrNoAccount] if the account is not there.
	PutMapping(ctx context.Context, m Mapping) error
	// Mapping returns where a name leads. [ErrNoMapping] if that is nowhere.
	Mapping(ctx context.Context, name string) (Mapping, error)
	// Mappings lists an account's mappings, by name.
	Mappings(ctx context.Context, account AccountID) ([]Mapping, error)
	// DeleteMapping has a name lead nowhere. [ErrNoMapping] if it is not the account's.
	DeleteMapping(ctx context.Context, account AccountID, name string) error
}
