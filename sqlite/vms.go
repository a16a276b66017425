package sqlite

import (
	"context"

	"github.com/coppice-vm/coppice"
)

var vms = &table[coppice.VM]{
	name:    "vms",
	noun:    "VM",
	missing: coppice.ErrNoVM,
	orphan:  coppice.ErrNoCapture,
	columns: []string{
		"id", "account", "created_at",
		"name", "state", "verb", "verb_since", "reason",
		"vcpus", "memory_mib", "disk_mib", "target_vcpus", "target_memory_mib", "target_disk_mib",
		"persistence", "priority", "delete_event", "idle_timeout",
		"activity_bytes", "active_at", "idle", "egress", "private",
		"image", "base", "snapshot", "parent",
		"instance", "host_boot", "started_at", "deleted_at",
	},
	fixed: 3,
	fields: func(vm *coppice.VM) []any {
		return []any{
			&vm.ID, &vm.Account, (*instant)(&vm.CreatedAt),
			&vm.Name, &vm.State, &vm.Verb, (*instant)(&vm.VerbSince), &vm.Reason,
			&vm.Size.VCPUs, &vm.Size.MemoryMiB, &vm.Size.DiskMiB, &vm.Target.VCPUs, &vm.Target.MemoryMiB, &vm.Target.DiskMiB,
			&vm.Persistence.Type, &vm.Persistence.Priority, &vm.Persistence.DeleteEvent, &vm.IdleTimeout,
			&vm.ActivityBytes, (*instant)(&vm.Activity.At), &vm.Activity.Idle, &vm.Egress, &vm.Private,
			&vm.Image, (*reference)(&vm.Base), &vm.Snapshot, &vm.Parent,
			&vm.Instance, &vm.HostBoot, (*instant)(&vm.StartedAt), (*instant)(&vm.DeletedAt),
		}
	},
	owner: func(vm *coppice.VM) coppice.AccountID { return vm.Account },
	usage: (*coppice.VM).Usage,
	moved: func(a, b *coppice.VM) bool {
		return a.ID != b.ID || a.Account != b.Account || !a.CreatedAt.Equal(b.CreatedAt)
	},
}

// InsertVM implements [coppice.Store].
func (db *DB) InsertVM(ctx context.Context, vm coppice.VM) error {
	return vms.insert(ctx, db, vm.ID, vm)
}

// VM implements [coppice.Store].
func (db *DB) VM(ctx context.Context, id coppice.VMID) (coppice.VM, error) {
	return vms.get(ctx, db.read, id)
}

// VMs implements [coppice.Store].
func (db *DB) VMs(ctx context.Context, filter coppice.VMFilter) ([]coppice.VM, error) {
	clauses, args := vmClauses(filter)
	return vms.list(ctx, db.read, clauses, args...)
}

func vmClauses(filter coppice.VMFilter) (clauses string, args []any) {
	clauses = "WHERE true"
	if !filter.Deleted {
		clauses += " AND deleted_at IS NULL" // in these words the index vms_live is used
	}
	if filter.Account != "" {
		clauses += " AND account = ?"
		args = append(args, filter.Account)
	}
	return clauses + " ORDER BY created_at, id", args
}

// UpdateVM implements [coppice.Store].
func (db *DB) UpdateVM(ctx context.Context, id coppice.VMID, change func(*coppice.VM) error, events ...coppice.Event) (coppice.VM, error) {
	return vms.update(ctx, db, id, change, record(events))
}
