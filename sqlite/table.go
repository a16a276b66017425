package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/coppice-vm/coppice"
)

// A table keeps values of type T, one a row, with their id in the first column.
type table[T any] struct {
	name    string
	noun    string // for errors: "VM"
	missing error  // what is said when a row is not there
	orphan  error  // what is said when a row refers to one that is not there

	// columns in the order of fields; those up to fixed never change.
	columns []string
	fixed   int
	// fields returns pointers to the fields of a value, to scan a row into and to write one from.
	fields func(*T) []any
	// owner and usage say which account a row is of, and what it counts for in
	// the account's limits. They are nil if rows count for nothing.
	owner func(*T) coppice.AccountID
	usage func(*T) coppice.Usage
	// moved reports whether fields differ that are fixed.
	moved func(a, b *T) bool
}

func (t *table[T]) insert(ctx context.Context, db *DB, id any, value T) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("insert %s %q: %w", t.noun, id, err)
	}
	defer tx.Rollback()
	query := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", t.name, strings.Join(t.columns, ", "), marks(len(t.columns)))
	if _, err := tx.ExecContext(ctx, query, t.fields(&value)...); err != nil {
		return fmt.Errorf("insert %s %q: %w", t.noun, id, known(err, t.orphan))
	}
	if t.usage != nil {
		if err := admit(ctx, tx, t.owner(&value), coppice.Usage{}, t.usage(&value)); err != nil {
			return fmt.Errorf("insert %s %q: %w", t.noun, id, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("insert %s %q: %w", t.noun, id, err)
	}
	return nil
}

// queryer is a pool of connections or a transaction.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (t *table[T]) get(ctx context.Context, q queryer, id any) (T, error) {
	value, err := t.one(ctx, q, "WHERE id = ?", id)
	if err != nil {
		return value, fmt.Errorf("read %s %q: %w", t.noun, id, err)
	}
	return value, nil
}

// one returns the row that clauses select.
func (t *table[T]) one(ctx context.Context, q queryer, clauses string, args ...any) (T, error) {
	var value, none T
	err := q.QueryRowContext(ctx, t.selection(clauses), args...).Scan(t.fields(&value)...)
	if errors.Is(err, sql.ErrNoRows) {
		err = t.missing
	}
	if err != nil {
		return none, err
	}
	return value, nil
}

// remove deletes the row that clauses select.
func (t *table[T]) remove(ctx context.Context, db *DB, clauses string, args ...any) error {
	result, err := db.write.ExecContext(ctx, fmt.Sprintf("DELETE FROM %s %s", t.name, clauses), args...)
	if err == nil {
		err = t.changed(result)
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", t.noun, err)
	}
	return nil
}

// changed returns the table's word for a missing row if a statement found none.
func (t *table[T]) changed(result sql.Result) error {
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = t.missing
	}
	return err
}

// list returns the rows that clauses select.
func (t *table[T]) list(ctx context.Context, q queryer, clauses string, args ...any) (values []T, err error) {
	defer func() {
		if err != nil {
			values, err = nil, fmt.Errorf("list %s: %w", t.name, err)
		}
	}()
	rows, err := q.QueryContext(ctx, t.selection(clauses), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var value T
		if err := rows.Scan(t.fields(&value)...); err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, rows.Err()
}

// update lets change edit a row, in one transaction, and then has done to the
// transaction what else belongs to it.
func (t *table[T]) update(ctx context.Context, db *DB, id any, change func(*T) error, then ...func(context.Context, *sql.Tx, *T) error) (T, error) {
	var none T
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return none, fmt.Errorf("update %s %q: %w", t.noun, id, err)
	}
	defer tx.Rollback()
	old, err := t.get(ctx, tx, id)
	if err != nil {
		return none, fmt.Errorf("update: %w", err)
	}
	value := old
	if err := change(&value); err != nil {
		return none, err
	}
	if t.moved(&old, &value) {
		return none, fmt.Errorf("update %s %q: %s may not change", t.noun, id, strings.Join(t.columns[:t.fixed], ", "))
	}
	query := fmt.Sprintf("UPDATE %s SET (%s) = (%s) WHERE id = ?",
		t.name, strings.Join(t.columns[t.fixed:], ", "), marks(len(t.columns)-t.fixed))
	if _, err := tx.ExecContext(ctx, query, append(t.fields(&value)[t.fixed:], id)...); err != nil {
		return none, fmt.Errorf("update %s %q: %w", t.noun, id, known(err, t.orphan))
	}
	if err := admit(ctx, tx, t.owner(&value), t.usage(&old), t.usage(&value)); err != nil {
		return none, fmt.Errorf("update %s %q: %w", t.noun, id, err)
	}
	for _, do := range then {
		if err := do(ctx, tx, &value); err != nil {
			return none, fmt.Errorf("update %s %q: %w", t.noun, id, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return none, fmt.Errorf("update %s %q: %w", t.noun, id, err)
	}
	return value, nil
}

func (t *table[T]) selection(clauses string) string {
	return fmt.Sprintf("SELECT %s FROM %s %s", strings.Join(t.columns, ", "), t.name, clauses)
}

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }
