package mem

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
)

// A Store is every port that a database is kept behind: a [coppice.Store], a
// [coppice.Captures], a [coppice.Accounts] and so on. It forgets everything
// with the process.
type Store struct {
	mu       sync.Mutex
	vms      map[coppice.VMID]coppice.VM
	captures map[coppice.CaptureID]coppice.Capture
	limits   map[coppice.AccountID]coppice.Limits
	events   []coppice.Event
	mappings map[string]coppice.Mapping
	lastSeq  int64 // of an event
	people
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{
		vms:      map[coppice.VMID]coppice.VM{},
		captures: map[coppice.CaptureID]coppice.Capture{},
		limits:   map[coppice.AccountID]coppice.Limits{},
		mappings: map[string]coppice.Mapping{},
		people:   newPeople(),
	}
}

// InsertVM implements [coppice.Store].
func (s *Store) InsertVM(ctx context.Context, vm coppice.VM) error {
	return s.locked(ctx, fmt.Sprintf("insert VM %q", vm.ID), func() error {
		if err := checkVM(vm); err != nil {
			return err
		}
		if _, taken := s.vms[vm.ID]; taken {
			return coppice.ErrExists
		}
		if err := cmp.Or(s.checkOwner(vm.Account), s.checkBase(vm)); err != nil {
			return err
		}
		s.vms[vm.ID] = vm
		err := s.admit(vm.Account, coppice.Usage{}, vm.Usage())
		if err != nil {
			delete(s.vms, vm.ID)
		}
		return err
	})
}

// VM implements [coppice.Store].
func (s *Store) VM(ctx context.Context, id coppice.VMID) (vm coppice.VM, err error) {
	err = s.locked(ctx, fmt.Sprintf("read VM %q", id), func() (err error) {
		vm, err = have(s.vms, id, coppice.ErrNoVM)
		return err
	})
	return vm, err
}

// VMs implements [coppice.Store].
func (s *Store) VMs(ctx context.Context, filter coppice.VMFilter) (all []coppice.VM, err error) {
	err = s.locked(ctx, "list VMs", func() error {
		all = sorted(s.vms, func(vm coppice.VM) bool {
			return (filter.Account == "" || vm.Account == filter.Account) && (filter.Deleted || !vm.Deleted())
		}, oldestFirst(func(x coppice.VM) (time.Time, string) { return x.CreatedAt, string(x.ID) }))
		return nil
	})
	return all, err
}

// UpdateVM implements [coppice.Store].
func (s *Store) UpdateVM(ctx context.Context, id coppice.VMID, change func(*coppice.VM) error, events ...coppice.Event) (coppice.VM, error) {
	if err := ctx.Err(); err != nil {
		return coppice.VM{}, fmt.Errorf("update VM %q: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.vms[id]
	if !ok {
		return coppice.VM{}, fmt.Errorf("update VM %q: %w", id, coppice.ErrNoVM)
	}
	vm := old
	if err := change(&vm); err != nil {
		return coppice.VM{}, err
	}
	if vm.ID != old.ID || vm.Account != old.Account || !vm.CreatedAt.Equal(old.CreatedAt) {
		return coppice.VM{}, fmt.Errorf("update VM %q: id, account and creation time may not change", id)
	}
	if err := cmp.Or(checkVM(vm), s.checkBase(vm)); err != nil {
		return coppice.VM{}, fmt.Errorf("update VM %q: %w", id, err)
	}
	s.vms[id] = vm
	if err := s.admit(vm.Account, old.Usage(), vm.Usage()); err != nil {
		s.vms[id] = old
		return coppice.VM{}, fmt.Errorf("update VM %q: %w", id, err)
	}
	s.record(vm, events)
	return vm, nil
}
