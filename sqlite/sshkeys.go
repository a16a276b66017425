package sqlite

import (
	"context"
	"fmt"

	"github.com/coppice-vm/coppice"
)

var sshKeys = &table[coppice.SSHKey]{
	name:    "ssh_keys",
	noun:    "SSH key",
	missing: coppice.ErrNoKey,
	orphan:  coppice.ErrNoAccount,
	columns: []string{"id", "account", "name", "fingerprint", "public_key", "created_at"},
	fields: func(k *coppice.SSHKey) []any {
		return []any{&k.ID, &k.Account, &k.Name, &k.Fingerprint, &k.PublicKey, (*instant)(&k.CreatedAt)}
	},
}

// InsertSSHKey implements [coppice.SSHKeys].
func (db *DB) InsertSSHKey(ctx context.Context, k coppice.SSHKey) error {
	return sshKeys.insert(ctx, db, k.ID, k)
}

// SSHKeyByFingerprint implements [coppice.SSHKeys].
func (db *DB) SSHKeyByFingerprint(ctx context.Context, fingerprint string) (coppice.SSHKey, error) {
	k, err := sshKeys.one(ctx, db.read, "WHERE fingerprint = ?", fingerprint)
	if err != nil {
		return k, fmt.Errorf("read SSH key: %w", err)
	}
	return k, nil
}

// SSHKeys implements [coppice.SSHKeys].
func (db *DB) SSHKeys(ctx context.Context, account coppice.AccountID) ([]coppice.SSHKey, error) {
	return sshKeys.list(ctx, db.read, "WHERE account = ? ORDER BY created_at, id", account)
}

// DeleteSSHKey implements [coppice.SSHKeys].
func (db *DB) DeleteSSHKey(ctx context.Context, account coppice.AccountID, id coppice.KeyID) error {
	return sshKeys.remove(ctx, db, "WHERE id = ? AND account = ?", id, account)
}
