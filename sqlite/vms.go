package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/coppice-vm/coppice"
)

// vmColumns are the columns of vms in the order of [vmFields]: first those that never change.
var vmColumns = []string{
	"id", "account", "created_at",
	"name", "state", "verb", "verb_since", "reason",
	"vcpus", "memory_mib", "disk_mib",
	"persistence", "priority", "delete_event", "idle_timeout",
	"image", "base", "snapshot", "parent",
	"instance", "host_boot", "started_at", "deleted_at",
}

// immutable is how many of vmColumns never change.
const immutable = 3

// vmFields returns pointers to the fields of vm, to scan a row into and to write one from.
func vmFields(vm *coppice.VM) []any {
	return []any{
		&vm.ID, &vm.Account, (*instant)(&vm.CreatedAt),
		&vm.Name, &vm.State, &vm.Verb, (*instant)(&vm.VerbSince), &vm.Reason,
		&vm.Size.VCPUs, &vm.Size.MemoryMiB, &vm.Size.DiskMiB,
		&vm.Persistence.Type, &vm.Persistence.Priority, &vm.Persistence.DeleteEvent, &vm.IdleTimeout,
		&vm.Image, &vm.Base, &vm.Snapshot, &vm.Parent,
		&vm.Instance, &vm.HostBoot, (*instant)(&vm.StartedAt), (*instant)(&vm.DeletedAt),
	}
}

var (
	selectVMs = "SELECT " + strings.Join(vmColumns, ", ") + " FROM vms "
	selectVM  = selectVMs + "WHERE id = ?"
	insertVM  = "INSERT INTO vms (" + strings.Join(vmColumns, ", ") + ") VALUES (" + marks(len(vmColumns)) + ")"
	updateVM  = "UPDATE vms SET (" + strings.Join(vmColumns[immutable:], ", ") + ") = (" + marks(len(vmColumns)-immutable) + ") WHERE id = ?"
)

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

// InsertVM implements [coppice.Store].
func (db *DB) InsertVM(ctx context.Context, vm coppice.VM) error {
	if _, err := db.write.ExecContext(ctx, insertVM, vmFields(&vm)...); err != nil {
		return fmt.Errorf("insert VM %q: %w", vm.ID, known(err))
	}
	return nil
}

// VM implements [coppice.Store].
func (db *DB) VM(ctx context.Context, id coppice.VMID) (coppice.VM, error) {
	vm, err := scanVM(db.read.QueryRowContext(ctx, selectVM, id))
	if err != nil {
		return coppice.VM{}, fmt.Errorf("read VM %q: %w", id, err)
	}
	return vm, nil
}

func scanVM(row *sql.Row) (vm coppice.VM, err error) {
	err = row.Scan(vmFields(&vm)...)
	if errors.Is(err, sql.ErrNoRows) {
		return vm, coppice.ErrNoVM
	}
	return vm, err
}

// VMs implements [coppice.Store].
func (db *DB) VMs(ctx context.Context, filter coppice.VMFilter) ([]coppice.VM, error) {
	vms, err := db.listVMs(ctx, filter)
	if err != nil {
		return nil, fmt.Errorf("list VMs: %w", err)
	}
	return vms, nil
}

func (db *DB) listVMs(ctx context.Context, filter coppice.VMFilter) (vms []coppice.VM, err error) {
	query, args := vmQuery(filter)
	rows, err := db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var vm coppice.VM
		if err := rows.Scan(vmFields(&vm)...); err != nil {
			return nil, err
		}
		vms = append(vms, vm)
	}
	return vms, rows.Err()
}

func vmQuery(filter coppice.VMFilter) (query string, args []any) {
	query = selectVMs + "WHERE true"
	if !filter.Deleted {
		query += " AND deleted_at IS NULL" // in these words the index vms_live is used
	}
	if filter.Account != "" {
		query += " AND account = ?"
		args = append(args, filter.Account)
	}
	return query + " ORDER BY created_at, id", args
}

// UpdateVM implements [coppice.Store].
func (db *DB) UpdateVM(ctx context.Context, id coppice.VMID, change func(*coppice.VM) error) (coppice.VM, error) {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return coppice.VM{}, fmt.Errorf("update VM %q: %w", id, err)
	}
	defer tx.Rollback()
	old, err := scanVM(tx.QueryRowContext(ctx, selectVM, id))
	if err != nil {
		return coppice.VM{}, fmt.Errorf("update VM %q: %w", id, err)
	}
	vm := old
	if err := change(&vm); err != nil {
		return coppice.VM{}, err
	}
	if vm.ID != old.ID || vm.Account != old.Account || !vm.CreatedAt.Equal(old.CreatedAt) {
		return coppice.VM{}, fmt.Errorf("update VM %q: id, account and creation time may not change", id)
	}
	if _, err := tx.ExecContext(ctx, updateVM, append(vmFields(&vm)[immutable:], id)...); err != nil {
		return coppice.VM{}, fmt.Errorf("update VM %q: %w", id, known(err))
	}
	if err := tx.Commit(); err != nil {
		return coppice.VM{}, fmt.Errorf("update VM %q: %w", id, err)
	}
	return vm, nil
}
