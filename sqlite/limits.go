package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/coppice-vm/coppice"
)

var limitColumns = []string{
	"vms", "running",
	"each_vcpus", "each_memory_mib", "each_disk_mib",
	"sum_vcpus", "sum_memory_mib", "sum_disk_mib",
	"snapshots", "ptys",
}

// limitFields returns pointers to the fields of limits, in the order of limitColumns.
func limitFields(l *coppice.Limits) []any {
	return []any{
		&l.VMs, &l.Running,
		&l.Each.VCPUs, &l.Each.MemoryMiB, &l.Each.DiskMiB,
		&l.Sum.VCPUs, &l.Sum.MemoryMiB, &l.Sum.DiskMiB,
		&l.Snapshots, &l.PTYs,
	}
}

// SetLimits implements [coppice.Quotas].
func (db *DB) SetLimits(ctx context.Context, account coppice.AccountID, limits coppice.Limits) error {
	query := fmt.Sprintf("INSERT OR REPLACE INTO limits (account, %s) VALUES (?, %s)",
		strings.Join(limitColumns, ", "), marks(len(limitColumns)))
	if _, err := db.write.ExecContext(ctx, query, append([]any{account}, limitFields(&limits)...)...); err != nil {
		return fmt.Errorf("set limits of account %q: %w", account, err)
	}
	return nil
}

// Limits implements [coppice.Quotas].
func (db *DB) Limits(ctx context.Context, account coppice.AccountID) (coppice.Limits, error) {
	return limitsOf(ctx, db.read, account)
}

func limitsOf(ctx context.Context, q queryer, account coppice.AccountID) (coppice.Limits, error) {
	var limits coppice.Limits
	query := fmt.Sprintf("SELECT %s FROM limits WHERE account = ?", strings.Join(limitColumns, ", "))
	err := q.QueryRowContext(ctx, query, account).Scan(limitFields(&limits)...)
	if errors.Is(err, sql.ErrNoRows) {
		return coppice.DefaultLimits, nil
	}
	if err != nil {
		return coppice.Limits{}, fmt.Errorf("read limits of account %q: %w", account, err)
	}
	return limits, nil
}

// Usage implements [coppice.Quotas].
func (db *DB) Usage(ctx context.Context, account coppice.AccountID) (coppice.Usage, error) {
	return usageOf(ctx, db.read, account)
}

func usageOf(ctx context.Context, q queryer, account coppice.AccountID) (all coppice.Usage, err error) {
	rows, err := vms.list(ctx, q, "WHERE deleted_at IS NULL AND account = ?", account)
	if err != nil {
		return all, err
	}
	snapshots, err := captures.list(ctx, q, "WHERE account = ?", account)
	for i := range rows {
		all = all.Plus(rows[i].Usage())
	}
	for i := range snapshots {
		all = all.Plus(snapshots[i].Usage())
	}
	return all, err
}

// admit returns why a change that tx has made may not stay: by it, the account
// has more than it may. nil if it may.
func admit(ctx context.Context, tx *sql.Tx, account coppice.AccountID, before, now coppice.Usage) error {
	if !now.Exceeds(before) {
		return nil // and need not be counted
	}
	limits, err := limitsOf(ctx, tx, account)
	if err != nil {
		return err
	}
	all, err := usageOf(ctx, tx, account)
	if err != nil {
		return err
	}
	return limits.Admit(all, before, now)
}
