package lifecycle

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/undo"
)

// makeHusk prepares a VM of the default size, which is to continue a capture
// that is not known yet, and puts its id in stock. Until it is somebody's the
// store does not know it, as with a spare.
func (m *Manager) makeHusk(ctx context.Context) (err error) {
	release, err := m.roomOnHost(ctx, m.Size)
	if err != nil {
		return err
	}
	defer release()
	vm := coppice.VM{ID: coppice.NewVMID(), Size: m.Size}
	var undo undo.Stack
	defer func() { err = m.takeBack(ctx, &undo, &vm, err) }()
	m.setRowless(vm.ID, true)
	undo.Push(func(ctx context.Context) error { return m.remove(ctx, vm.ID) })
	files, err := m.Pool.CreateVM(ctx, vm.ID, "", vm.Size)
	if err != nil {
		return err
	}
	if err := m.connect(ctx, &vm); err != nil {
		return err
	}
	err = m.Hypervisor.Prepare(ctx, coppice.Machine{VM: vm.ID, Size: vm.Size, Disk: files.Disk, Memory: files.Memory})
	if err != nil {
		return err
	}
	undo.Keep()
	m.husks.put(vm.ID)
	return nil
}

// newID returns the id of a VM that will continue a capture of that size: one
// that was prepared, if there is one. Whoever has it removes what belongs to it
// if the VM comes to nothing.
func (m *Manager) newID(size coppice.Size) coppice.VMID {
	fits := func(coppice.VMID) bool {
		return size.VCPUs == m.Size.VCPUs && size.MemoryMiB == m.Size.MemoryMiB
	}
	if id, ok := m.husks.take(fits); ok {
		return id
	}
	return coppice.NewVMID()
}
