package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coppice-vm/coppice"
)

var events = &table[coppice.Event]{
	name:    "events",
	noun:    "event",
	columns: []string{"seq", "at", "vm", "account", "verb", "state", "failed", "reason", "took"},
	fields: func(e *coppice.Event) []any {
		return []any{&e.Seq, (*instant)(&e.At), &e.VM, &e.Account, &e.Verb, &e.State, &e.Failed, &e.Reason, &e.Took}
	},
}

// record returns what adds events of a VM to a transaction.
func record(added []coppice.Event) func(context.Context, *sql.Tx, *coppice.VM) error {
	columns := events.columns[1:] // the file gives seq
	query := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", events.name, strings.Join(columns, ", "), marks(len(columns)))
	return func(ctx context.Context, tx *sql.Tx, vm *coppice.VM) error {
		for _, e := range added {
			e.VM, e.Account = vm.ID, vm.Account
			if _, err := tx.ExecContext(ctx, query, events.fields(&e)[1:]...); err != nil {
				return fmt.Errorf("record an event: %w", err)
			}
		}
		return nil
	}
}

// Events implements [coppice.History].
func (db *DB) Events(ctx context.Context, filter coppice.EventFilter) ([]coppice.Event, error) {
	clauses, args := eventClauses(filter)
	found, err := events.list(ctx, db.read, clauses, args...)
	if filter.Newest {
		slices.Reverse(found)
	}
	return found, err
}

func eventClauses(filter coppice.EventFilter) (clauses string, args []any) {
	clauses, args = "WHERE seq > ?", []any{filter.After}
	if filter.VM != "" {
		clauses += " AND vm = ?"
		args = append(args, filter.VM)
	}
	if filter.Account != "" {
		clauses += " AND account = ?"
		args = append(args, filter.Account)
	}
	clauses += " ORDER BY seq"
	if filter.Newest {
		clauses += " DESC"
	}
	return clauses + " LIMIT ?", append(args, max(0, filter.Limit))
}

// ForgetEvents implements [coppice.History].
func (db *DB) ForgetEvents(ctx context.Context, before time.Time) (int, error) {
	done, err := db.write.ExecContext(ctx, "DELETE FROM events WHERE vm IN (SELECT id FROM vms WHERE deleted_at < ?)", instant(before))
	if err != nil {
		return 0, fmt.Errorf("forget events: %w", err)
	}
	n, err := done.RowsAffected()
	return int(n), err
}
