package sqlite

import (
	"context"
	"fmt"

	"github.com/coppice-vm/coppice"
)

var captures = &table[coppice.Capture]{
	name:    "captures",
	noun:    "capture",
	missing: coppice.ErrNoCapture,
	columns: []string{
		"id", "account", "created_at",
		"name", "source", "instance", "image",
		"vcpus", "memory_mib", "disk_mib",
		"live", "keep",
		"persistence", "priority", "delete_event",
		"deleted_at",
	},
	fixed: 3,
	fields: func(c *coppice.Capture) []any {
		return []any{
			&c.ID, &c.Account, (*instant)(&c.CreatedAt),
			&c.Name, &c.Source, &c.Instance, &c.Image,
			&c.Size.VCPUs, &c.Size.MemoryMiB, &c.Size.DiskMiB,
			&c.Live, &c.Keep,
			&c.Persistence.Type, &c.Persistence.Priority, &c.Persistence.DeleteEvent,
			(*instant)(&c.DeletedAt),
		}
	},
	owner: func(c *coppice.Capture) coppice.AccountID { return c.Account },
	usage: (*coppice.Capture).Usage,
	moved: func(a, b *coppice.Capture) bool {
		return a.ID != b.ID || a.Account != b.Account || !a.CreatedAt.Equal(b.CreatedAt)
	},
}

// InsertCapture implements [coppice.Captures].
func (db *DB) InsertCapture(ctx context.Context, c coppice.Capture) error {
	return captures.insert(ctx, db, c.ID, c)
}

// Capture implements [coppice.Captures].
func (db *DB) Capture(ctx context.Context, id coppice.CaptureID) (coppice.Capture, error) {
	return captures.get(ctx, db.read, id)
}

// Captures implements [coppice.Captures].
func (db *DB) Captures(ctx context.Context, account coppice.AccountID) ([]coppice.Capture, error) {
	return captures.list(ctx, db.read, "WHERE ?1 IN ('', account) ORDER BY created_at, id", account)
}

// UpdateCapture implements [coppice.Captures].
func (db *DB) UpdateCapture(ctx context.Context, id coppice.CaptureID, change func(*coppice.Capture) error) (coppice.Capture, error) {
	return captures.update(ctx, db, id, change)
}

// DropCapture implements [coppice.Captures].
func (db *DB) DropCapture(ctx context.Context, id coppice.CaptureID) error {
	if err := db.dropCapture(ctx, id); err != nil {
		return fmt.Errorf("drop capture %q: %w", id, err)
	}
	return nil
}

func (db *DB) dropCapture(ctx context.Context, id coppice.CaptureID) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, `DELETE FROM captures
		WHERE id = ?1 AND NOT keep AND NOT EXISTS (SELECT 1 FROM vms WHERE base = ?1)`, id)
	if err != nil {
		return err
	}
	var needed bool
	if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM captures WHERE id = ?)", id).Scan(&needed); err != nil {
		return err
	}
	if needed {
		return coppice.ErrInUse
	}
	return tx.Commit()
}
