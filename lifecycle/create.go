package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/undo"
)

const (
	defaultIdleTimeout = 5 * time.Minute
	defaultPriority    = 5
)

// Create makes a new VM, from a snapshot or from the host's image, and returns
// when it can be used. A VM that could not be made leaves a tombstone.
func (m *Manager) Create(ctx context.Context, spec coppice.NewVM) (coppice.VM, error) {
	step, _ := Plan(coppice.Absent, coppice.Restore)
	if spec.Snapshot != "" {
		if !spec.Snapshot.Valid() {
			return coppice.VM{}, noSnapshot(spec.Snapshot)
		}
		m.hold(spec.Snapshot)
		defer m.letFall(spec.Snapshot)
		c, err := m.Snapshot(ctx, spec.Account, spec.Snapshot)
		if err != nil {
			return coppice.VM{}, err
		}
		vm, err := m.newVM(spec, c.Image, c.Size)
		if err != nil {
			return vm, err
		}
		if c.Live && vm.Size != c.Size {
			return vm, coppice.Errorf(coppice.CodeCreateBadRequest, "the snapshot %s holds a running machine with %d vCPUs, %d MiB of memory and a disk of %d MiB, which cannot change in it; create the VM without a size",
				c.ID, c.Size.VCPUs, c.Size.MemoryMiB, c.Size.DiskMiB)
		}
		release, err := m.makeRoom(ctx, vm.Account, vm.Size)
		if err != nil {
			return vm, err
		}
		defer func() { m.whenDone(vm.ID, release) }()
		if vm.Base = c.ID; c.Live {
			vm.ID = m.newID(c.Size)
		}
		return m.insert(ctx, vm, step, m.sprout(c, coppice.Running))
	}
	image, err := m.Pool.Image(ctx, m.Image)
	if err != nil {
		return coppice.VM{}, err
	}
	size := m.Size
	size.DiskMiB = max(size.DiskMiB, image.DiskMiB)
	vm, err := m.newVM(spec, image.ID, size)
	if err != nil {
		return vm, err
	}
	release, err := m.makeRoom(ctx, vm.Account, vm.Size)
	if err != nil {
		return vm, err
	}
	defer func() { m.whenDone(vm.ID, release) }()
	c, err := m.template(ctx, vm.Size)
	if err != nil {
		return vm, err
	}
	defer m.letFall(c.ID)
	vm.Base = c.ID
	if s, ok := m.spares.take(func(s spare) bool { return s.base == c.ID }); ok {
		s.unwatch()
		s.session.Close()
		vm.ID = s.id
		return m.insert(ctx, vm, step, m.adopt(s))
	}
	vm.ID = m.newID(vm.Size)
	return m.insert(ctx, vm, step, m.thaw)
}

// newVM returns the row of a VM as spec wants it, or what is wrong with spec.
// What it starts from has a size, which is the VM's where spec says nothing; its
// disk is the smallest the VM's can be.
func (m *Manager) newVM(spec coppice.NewVM, image coppice.ImageID, from coppice.Size) (coppice.VM, error) {
	vm := coppice.VM{
		ID:          coppice.NewVMID(),
		Account:     spec.Account,
		Name:        spec.Name,
		State:       coppice.Absent,
		Persistence: spec.Persistence,
		IdleTimeout: defaultIdleTimeout,

		ActivityBytes: defaultActivityBytes,
		Image:         image,
		Egress:        spec.Egress,
		Private:       spec.Private,
		Snapshot:      spec.Snapshot,
		CreatedAt:     time.Now().UTC(),
	}
	if err := coppice.CheckName(spec.Name, coppice.CodeCreateBadRequest); err != nil {
		return vm, err
	}
	if spec.Persistence.Type == "" {
		vm.Persistence = coppice.Persistence{Type: coppice.Sticky, Priority: defaultPriority}
	}
	if spec.IdleTimeout != nil {
		vm.IdleTimeout = *spec.IdleTimeout
	}
	if spec.ActivityBytes != nil {
		vm.ActivityBytes = *spec.ActivityBytes
	}
	var err error
	vm.Size, err = sized(spec.Size, from)
	return vm, err
}

// insert adds a VM that is being restored, and does the restoring.
func (m *Manager) insert(ctx context.Context, vm coppice.VM, step Step, restore work) (coppice.VM, error) {
	take(&vm, coppice.Restore)
	if step.Works != coppice.Running {
		vm.Instance = "" // it begins no run
	}
	m.mu.Lock()
	if m.base.Err() != nil {
		m.mu.Unlock()
		return coppice.VM{}, leaving()
	}
	f := m.launchFlight(ctx, vm.ID, m.entry(vm.ID), coppice.Restore, func(ctx context.Context) (coppice.VM, error) {
		if err := m.Store.InsertVM(ctx, vm); err != nil {
			return coppice.VM{}, errors.Join(err, m.remove(m.base, vm.ID)) // it may be one made ahead
		}
		m.setRowless(vm.ID, false)
		return m.carryOut(ctx, vm, step, func(ctx context.Context, vm *coppice.VM) error {
			err := m.restore(ctx, vm, restore)
			if err != nil {
				vm.Base = ""
				vm.DeletedAt = time.Now().UTC()
			}
			return err
		})
	})
	m.mu.Unlock()
	return f.wait(ctx)
}

// restore does the restoring, and leaves nothing of the VM if it fails.
func (m *Manager) restore(ctx context.Context, vm *coppice.VM, restore work) (err error) {
	var undo undo.Stack
	defer func() { err = m.takeBack(ctx, &undo, vm, err) }()
	undo.Push(func(ctx context.Context) error { return m.remove(ctx, vm.ID) })
	if err := restore(ctx, vm); err != nil {
		return err
	}
	undo.Keep()
	return nil
}

// create is the work of making a VM from its image.
func (m *Manager) create(ctx context.Context, vm *coppice.VM) error {
	image, err := m.Pool.Image(ctx, vm.Image)
	if err != nil {
		return err
	}
	if _, err := m.Pool.CreateVM(ctx, vm.ID, image.Disk, vm.Size); err != nil {
		return err
	}
	return m.boot(ctx, vm)
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
		m.untidy()
	}
	return err
}

// remove removes everything the host has of a VM. What it leaves all the same is
// nobody's, and is removed later.
func (m *Manager) remove(ctx context.Context, id coppice.VMID) (err error) {
	defer func() {
		if m.setRowless(id, false); err != nil {
			m.untidy()
		}
	}()
	if err := m.end(ctx, id); err != nil {
		return err
	}
	if err := m.Pool.RemoveVM(ctx, id); err != nil {
		return err
	}
	return m.Hypervisor.RemoveConsole(ctx, id)
}
