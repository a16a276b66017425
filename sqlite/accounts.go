package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/coppice-vm/coppice"
)

// InsertAccount implements [coppice.Accounts].
func (db *DB) InsertAccount(ctx context.Context, a coppice.Account) error {
	_, err := db.write.ExecContext(ctx, "INSERT INTO accounts (id, name, created_at) VALUES (?, ?, ?)",
		a.ID, a.Name, instant(a.CreatedAt))
	if err != nil {
		return fmt.Errorf("insert account %q: %w", a.ID, known(err, nil))
	}
	return nil
}

// InsertKey implements [coppice.Accounts].
func (db *DB) InsertKey(ctx context.Context, k coppice.APIKey) error {
	_, err := db.write.ExecContext(ctx, "INSERT INTO api_keys (hash, account, name, created_at) VALUES (?, ?, ?, ?)",
		k.Hash[:], k.Account, k.Name, instant(k.CreatedAt))
	if err != nil {
		return fmt.Errorf("insert key %q of account %q: %w", k.Name, k.Account, known(err, coppice.ErrNoAccount))
	}
	return nil
}

// KeyByHash implements [coppice.Accounts].
func (db *DB) KeyByHash(ctx context.Context, hash coppice.KeyHash) (coppice.APIKey, error) {
	k := coppice.APIKey{Hash: hash}
	err := db.read.QueryRowContext(ctx, "SELECT account, name, created_at FROM api_keys WHERE hash = ?", hash[:]).
		Scan(&k.Account, &k.Name, (*instant)(&k.CreatedAt))
	if errors.Is(err, sql.ErrNoRows) {
		err = coppice.ErrNoKey
	}
	if err != nil {
		return coppice.APIKey{}, fmt.Errorf("read key: %w", err)
	}
	return k, nil
}
