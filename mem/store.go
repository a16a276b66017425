package mem

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

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
	if err := cmp.Or(ctx.Err(), checkVM(vm)); err != nil {
		return fmt.Errorf("insert VM %q: %w", vm.ID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.vms[vm.ID]; taken {
		return fmt.Errorf("insert VM %q: %w", vm.ID, coppice.ErrExists)
	}
	if err := cmp.Or(s.checkOwner(vm.Account), s.checkBase(vm)); err != nil {
		return fmt.Errorf("insert VM %q: %w", vm.ID, err)
	}
	s.vms[vm.ID] = vm
	if err := s.admit(vm.Account, coppice.Usage{}, vm.Usage()); err != nil {
		delete(s.vms, vm.ID)
		return fmt.Errorf("insert VM %q: %w", vm.ID, err)
	}
	return nil
}

// VM implements [coppice.Store].
func (s *Store) VM(ctx context.Context, id coppice.VMID) (coppice.VM, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	vm, ok := s.vms[id]
	switch {
	case ctx.Err() != nil:
		return coppice.VM{}, fmt.Errorf("read VM %q: %w", id, ctx.Err())
	case !ok:
		return coppice.VM{}, fmt.Errorf("read VM %q: %w", id, coppice.ErrNoVM)
	}
	return vm, nil
}

// VMs implements [coppice.Store].
func (s *Store) VMs(ctx context.Context, filter coppice.VMFilter) ([]coppice.VM, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list VMs: %w", err)
	}
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.vms))
	s.mu.Unlock()
	vms := slices.DeleteFunc(all, func(vm coppice.VM) bool {
		return filter.Account != "" && vm.Account != filter.Account || vm.Deleted() && !filter.Deleted
	})
	slices.SortFunc(vms, func(a, b coppice.VM) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return vms, nil
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
