package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/coppice-vm/coppice"
)

var accounts = &table[coppice.Account]{
	name:    "accounts",
	noun:    "account",
	missing: coppice.ErrNoAccount,
	columns: []string{"id", "name", "created_at"},
	fields: func(a *coppice.Account) []any {
		return []any{&a.ID, &a.Name, (*instant)(&a.CreatedAt)}
	},
}

// InsertAccount implements [coppice.Accounts].
func (db *DB) InsertAccount(ctx context.Context, a coppice.Account) error {
	return accounts.insert(ctx, db, a.ID, a)
}

// Account implements [coppice.Accounts].
func (db *DB) Account(ctx context.Context, id coppice.AccountID) (coppice.Account, error) {
	a, err := accounts.one(ctx, db.read, "WHERE id = ? AND deleted_at IS NULL", id)
	if err != nil {
		return a, fmt.Errorf("read account %q: %w", id, err)
	}
	return a, nil
}

// Accounts implements [coppice.Accounts].
func (db *DB) Accounts(ctx context.Context) ([]coppice.Account, error) {
	return accounts.list(ctx, db.read, "WHERE deleted_at IS NULL ORDER BY created_at, id")
}

// DeleteAccount implements [coppice.Accounts].
func (db *DB) DeleteAccount(ctx context.Context, id coppice.AccountID, at time.Time) error {
	if err := db.deleteAccount(ctx, id, at); err != nil {
		return fmt.Errorf("delete account %q: %w", id, err)
	}
	return nil
}

func (db *DB) deleteAccount(ctx context.Context, id coppice.AccountID, at time.Time) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	result, err := tx.ExecContext(ctx, "UPDATE accounts SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL", instant(at), id)
	if err == nil {
		err = accounts.changed(result)
	}
	if err != nil {
		return err
	}
	var inUse bool
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM vms WHERE account = ?1 AND deleted_at IS NULL)
		OR EXISTS (SELECT 1 FROM captures WHERE account = ?1 AND keep)`, id).Scan(&inUse)
	switch {
	case err != nil:
		return err
	case inUse:
		return coppice.ErrInUse
	}
	for _, table := range []string{"api_keys", "ssh_keys", "identities", "limits", "mappings"} {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE account = ?", id); err != nil {
			return err
		}
	}
	return tx.Commit()
}

var keys = &table[coppice.APIKey]{
	name:    "api_keys",
	noun:    "key",
	missing: coppice.ErrNoKey,
	orphan:  coppice.ErrNoAccount,
	columns: []string{"id", "hash", "account", "name", "admin", "created_at", "used_at"},
	fields: func(k *coppice.APIKey) []any {
		return []any{&k.ID, (*hash)(&k.Hash), &k.Account, &k.Name, &k.Admin, (*instant)(&k.CreatedAt), (*instant)(&k.UsedAt)}
	},
}

// InsertKey implements [coppice.Keys].
func (db *DB) InsertKey(ctx context.Context, k coppice.APIKey) error {
	return keys.insert(ctx, db, k.ID, k)
}

// KeyByHash implements [coppice.Keys].
func (db *DB) KeyByHash(ctx context.Context, h coppice.SecretHash) (coppice.APIKey, error) {
	k, err := keys.one(ctx, db.read, "WHERE hash = ?", hash(h))
	if err != nil {
		return k, fmt.Errorf("read key: %w", err)
	}
	return k, nil
}

// Keys implements [coppice.Keys].
func (db *DB) Keys(ctx context.Context, account coppice.AccountID) ([]coppice.APIKey, error) {
	return keys.list(ctx, db.read, "WHERE account = ? ORDER BY created_at, id", account)
}

// UseKey implements [coppice.Keys].
func (db *DB) UseKey(ctx context.Context, id coppice.KeyID, at time.Time) error {
	if _, err := db.write.ExecContext(ctx, "UPDATE api_keys SET used_at = ? WHERE id = ?", instant(at), id); err != nil {
		return fmt.Errorf("note the use of key %q: %w", id, err)
	}
	return nil
}

// DeleteKey implements [coppice.Keys].
func (db *DB) DeleteKey(ctx context.Context, account coppice.AccountID, id coppice.KeyID) error {
	return keys.remove(ctx, db, "WHERE id = ? AND account = ?", id, account)
}
