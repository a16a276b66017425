package coppice

import (
	"context"
	"time"
)

// An SSHKey lets whoever has the private half of it log in by SSH to an
// account's VMs, as any user of theirs.
type SSHKey struct {
	ID          KeyID
	Account     AccountID
	Name        string // need not be unique
	Fingerprint string // as OpenSSH shows it: "SHA256:" and base64
	PublicKey   string // its type and itself, as in authorized_keys
	CreatedAt   time.Time
}

// SSHKeys remembers SSH keys.
type SSHKeys interface {
	// InsertSSHKey adds a key. [ErrExists] if the id or the fingerprint is taken,
	// by whatever account; [ErrNoAccount] if the account is not there.
	InsertSSHKey(ctx context.Context, k SSHKey) error
	// SSHKeyByFingerprint returns the key with that fingerprint. [ErrNoKey] if there is none.
	SSHKeyByFingerprint(ctx context.Context, fingerprint string) (SSHKey, error)
	// SSHKeys lists an account's keys, oldest first.
	SSHKeys(ctx context.Context, account AccountID) ([]SSHKey, error)
	// DeleteSSHKey forgets a key of an account. [ErrNoKey] if the account has no such key.
	DeleteSSHKey(ctx context.Context, account AccountID, id KeyID) error
}
