package lifecycle

import (
	"cmp"
	"context"

	"github.com/coppice-vm/coppice"
)

// deletedBy reports whether an event deletes a VM.
func deletedBy(vm *coppice.VM, event coppice.DeleteEvent) bool {
	return vm.Persistence.Type == coppice.Ephemeral && vm.Persistence.DeleteEvent == event
}

// orDelete returns r, which is the event for vm, or what is done in its place if
// that deletes vm: one verb, so that a crash leaves nothing that is still to be
// deleted and does not look like it.
func (m *Manager) orDelete(vm *coppice.VM, event coppice.DeleteEvent, r request) request {
	if !deletedBy(vm, event) {
		return r
	}
	ask := r.verb == coppice.Stop
	return request{
		verb:   coppice.Delete,
		inLieu: r.verb,
		why:    cmp.Or(r.why, "it is ephemeral, and "+string(r.verb)+" deletes it"),
		still:  r.still,
		do: func(ctx context.Context, vm *coppice.VM) error {
			if ask {
				if err := m.stop(ctx, vm); err != nil {
					return err
				}
			}
			return m.delete(ctx, vm)
		},
	}
}
