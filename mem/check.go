package mem

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coppice-vm/coppice"
)

// The twins refuse what the real store's constraints refuse, so that a test
// against the twin meets the same walls.

func checkVM(vm coppice.VM) error {
	switch {
	case !slices.Contains(coppice.States, vm.State):
		return fmt.Errorf("unknown state %q", vm.State)
	case vm.Verb != coppice.Idle && !slices.Contains(coppice.Verbs, vm.Verb):
		return fmt.Errorf("unknown verb %q", vm.Verb)
	case vm.Persistence.Type == "":
		return errors.New("no persistence")
	case vm.IdleTimeout < 0:
		return fmt.Errorf("negative idle timeout %v", vm.IdleTimeout)
	case vm.ActivityBytes < 0 || vm.Activity.Idle < 0:
		return fmt.Errorf("negative activity %d, %v", vm.ActivityBytes, vm.Activity.Idle)
	}
	return cmp.Or(
		checkOrigin(string(vm.ID), vm.Account, vm.CreatedAt), checkSize(vm.Size), checkPersistence(vm.Persistence))
}

func checkCapture(c coppice.Capture) error {
	return cmp.Or(
		checkOrigin(string(c.ID), c.Account, c.CreatedAt), checkSize(c.Size), checkPersistence(c.Persistence))
}

func checkOrigin(id string, account coppice.AccountID, created time.Time) error {
	if id == "" || account == "" || created.IsZero() {
		return errors.New("no id, account or creation time")
	}
	return nil
}

func checkSize(s coppice.Size) error {
	if s.VCPUs <= 0 || s.MemoryMiB <= 0 || s.DiskMiB <= 0 {
		return fmt.Errorf("impossible size %+v", s)
	}
	return nil
}

func checkPersistence(p coppice.Persistence) error {
	types := []coppice.PersistenceType{"", coppice.Sticky, coppice.Persistent, coppice.Ephemeral}
	events := []coppice.DeleteEvent{"", coppice.OnStop, coppice.OnSuspend}
	if !slices.Contains(types, p.Type) || !slices.Contains(events, p.DeleteEvent) || p.Priority < 0 || p.Priority > 10 {
		return fmt.Errorf("unknown persistence %+v", p)
	}
	return nil
}
