package lifecycle

import (
	"context"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/undo"
)

const (
	defaultIdleTimeout = 5 * time.Minute
	defaultPriority    = 5
	maxNameLength      = 128
)

// Create makes a new VM and returns when it can be used. A VM that could not
// be made leaves a tombstone.
func (m *Manager) Create(ctx context.Context, spec coppice.NewVM) (coppice.VM, error) {
	image, err := m.Pool.Image(ctx, m.Image)
	if err != nil {
		return coppice.VM{}, err
	}
	vm, err := m.newVM(spec, image)
	if err != nil {
		return coppice.VM{}, err
	}
	return m.insert(ctx, vm, m.create)
}

// newVM returns the row of a VM as spec wants it, or what is wrong with spec.
func (m *Manager) newVM(spec coppice.NewVM, image coppice.Image) (coppice.VM, error) {
	vm := coppice.VM{
		ID:          coppice.NewVMID(),
		Account:     spec.Account,
		Name:        spec.Name,
		State:       coppice.Absent,
		Persistence: spec.Persistence,
		IdleTimeout: defaultIdleTimeout,
		Image:       image.ID,
		Snapshot:    spec.Snapshot,
		CreatedAt:   time.Now().UTC(),
	}
	if utf8.RuneCountInString(spec.Name) > maxNameLength || !printable(spec.Name) {
		return vm, coppice.Errorf(coppice.CodeCreateBadRequest, "a name is at most %d printable characters", maxNameLength)
	}
	if spec.Snapshot != "" {
		return vm, coppice.Errorf(coppice.CodeSnapshotNotFound, "there is no snapshot %s", spec.Snapshot).With("snapshotId", spec.Snapshot)
	}
	if spec.Persistence.Type == "" {
		vm.Persistence = coppice.Persistence{Type: coppice.Sticky, Priority: defaultPriority}
	}
	if spec.IdleTimeout != nil {
		vm.IdleTimeout = *spec.IdleTimeout
	}
	var err error
	vm.Size, err = sized(spec.Size, m.Size, image)
	return vm, err
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// insert adds a VM that is being restored, and does the restoring.
func (m *Manager) insert(ctx context.Context, vm coppice.VM, restore work) (coppice.VM, error) {
	take(&vm, coppice.Restore)
	step, _ := Plan(vm.State, coppice.Restore)
	m.mu.Lock()
	if m.base.Err() != nil {
		m.mu.Unlock()
		return coppice.VM{}, leaving()
	}
	f := m.launchFlight(vm.ID, m.entry(vm.ID), coppice.Restore, func(ctx context.Context) (coppice.VM, error) {
		if err := m.Store.InsertVM(ctx, vm); err != nil {
			return coppice.VM{}, err
		}
		return m.carryOut(ctx, vm, step, func(ctx context.Context, vm *coppice.VM) error {
			err := restore(ctx, vm)
			if err != nil {
				vm.DeletedAt = time.Now().UTC()
			}
			return err
		})
	})
	m.mu.Unlock()
	return f.wait(ctx)
}

// create is the work of restoring a VM that starts from its image.
func (m *Manager) create(ctx context.Context, vm *coppice.VM) (err error) {
	var undo undo.Stack
	defer func() { err = m.takeBack(ctx, &undo, vm, err) }()

	image, err := m.Pool.Image(ctx, vm.Image)
	if err != nil {
		return err
	}
	undo.Push(func(ctx context.Context) error { return m.remove(ctx, vm.ID) })
	if _, err := m.Pool.CreateVM(ctx, vm.ID, image.Disk, vm.Size); err != nil {
		return err
	}
	if err := m.boot(ctx, vm); err != nil {
		return err
	}
	undo.Keep()
	return nil
}

// takeBack runs what undo holds and returns err, having logged what could not
// be taken back. Close to the daemon's leaving it leaves all as it is, for the
// next to settle.
func (m *Manager) takeBack(ctx context.Context, undo *undo.Stack, vm *coppice.VM, err error) error {
	if m.base.Err() != nil {
		return err
	}
	if undoErr := undo.Run(ctx, undoDeadline); undoErr != nil {
		m.Log.Error("could not take everything back", "vm", vm.ID, "verb", vm.Verb, "error", undoErr)
	}
	return err
}

// remove removes everything the host has of a VM.
func (m *Manager) remove(ctx context.Context, id coppice.VMID) error {
	if err := m.end(ctx, id); err != nil {
		return err
	}
	if err := m.Pool.RemoveVM(ctx, id); err != nil {
		return err
	}
	return m.Hypervisor.RemoveConsole(ctx, id)
}
