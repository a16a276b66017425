package sqlite

import (
	"context"
	"fmt"

	"github.com/coppice-vm/coppice"
)

var mappings = &table[coppice.Mapping]{
	name:    "mappings",
	noun:    "mapping",
	missing: coppice.ErrNoMapping,
	orphan:  coppice.ErrNoAccount,
	columns: []string{"name", "account", "vm", "port", "created_at"},
	fields: func(m *coppice.Mapping) []any {
		return []any{&m.Name, &m.Account, &m.VM, &m.Port, (*instant)(&m.CreatedAt)}
	},
}

// PutMapping implements [coppice.Mappings].
func (db *DB) PutMapping(ctx context.Context, m coppice.Mapping) error {
	result, err := db.write.ExecContext(ctx, `INSERT INTO mappings (name, account, vm, port, created_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET (vm, port, created_at) = (excluded.vm, excluded.port, excluded.created_at)
		WHERE account = excluded.account`, mappings.fields(&m)...)
	if err != nil {
		return fmt.Errorf("map %q: %w", m.Name, known(err, coppice.ErrNoAccount))
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return fmt.Errorf("map %q: %w", m.Name, coppice.ErrExists)
	}
	return nil
}

// Mapping implements [coppice.Mappings].
func (db *DB) Mapping(ctx context.Context, name string) (coppice.Mapping, error) {
	m, err := mappings.one(ctx, db.read, "WHERE name = ?", name)
	if err != nil {
		return m, fmt.Errorf("read mapping of %q: %w", name, err)
	}
	return m, nil
}

// Mappings implements [coppice.Mappings].
func (db *DB) Mappings(ctx context.Context, account coppice.AccountID) ([]coppice.Mapping, error) {
	return mappings.list(ctx, db.read, "WHERE account = ? ORDER BY name", account)
}

// DeleteMapping implements [coppice.Mappings].
func (db *DB) DeleteMapping(ctx context.Context, account coppice.AccountID, name string) error {
	return mappings.remove(ctx, db, "WHERE name = ? AND account = ?", name, account)
}
