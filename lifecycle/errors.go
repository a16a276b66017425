package lifecycle

import (
	"context"
	"errors"
	"fmt"

	"github.com/coppice-vm/coppice"
)

var (
	// errBusy is in the chain of every error that says another verb is in flight.
	errBusy = errors.New("another verb is in flight")
	// errRefused is in the chain of every error that says the table does not
	// allow a verb in the VM's state.
	errRefused = errors.New("not from this state")
)

// notFound says that an account has no such VM. It does not tell a VM of
// another account from one that does not exist. Another failure of the store
// is passed on.
func notFound(id coppice.VMID, err error) error {
	if err != nil && !errors.Is(err, coppice.ErrNoVM) {
		return err
	}
	return coppice.NoVM(id)
}

func noSnapshot(id coppice.CaptureID) *coppice.Error {
	return coppice.Errorf(coppice.CodeSnapshotNotFound, "there is no snapshot %s", id).With("snapshotId", id)
}

func deleted(id coppice.VMID) *coppice.Error {
	return coppice.Errorf(coppice.CodeVMDeleted, "VM %s has been deleted", id).With("vmId", id)
}

func notRunning(vm *coppice.VM) *coppice.Error {
	hint := "start it first"
	if vm.State == coppice.Failed {
		hint = "its run was lost (" + vm.Reason + "); start it to boot its disk"
	}
	return coppice.Errorf(coppice.CodeVMNotRunning, "VM %s is %s: %s", vm.ID, vm.State, hint).With("vmId", vm.ID)
}

// busy says that a verb cannot be done because another is in flight.
func busy(id coppice.VMID, inFlight, wanted coppice.Verb) *coppice.Error {
	code := coppice.CodeConflict
	switch inFlight {
	case coppice.Suspend:
		code = coppice.CodeVMSuspending
	case coppice.Restore:
		code = coppice.CodeStillCreating
	}
	return coppice.Errorf(code, "VM %s cannot %s now: its %s is in flight; try again when that is done", id, wanted, inFlight).
		With("vmId", id).With("verb", inFlight).Because(errBusy)
}

// refused says that the table does not allow a verb.
func refused(vm *coppice.VM, verb coppice.Verb) *coppice.Error {
	err := coppice.Errorf(coppice.CodeConflict, "VM %s is %s and cannot %s", vm.ID, vm.State, verb).With("vmId", vm.ID)
	switch {
	case vm.Deleted():
		err = deleted(vm.ID)
	case vm.State == coppice.Stopped, vm.State == coppice.Failed, vm.State == coppice.Suspended:
		err = notRunning(vm)
	}
	return err.Because(errRefused)
}

func leaving() *coppice.Error {
	return coppice.Errorf(coppice.CodeUnavailable, "the daemon is stopping; its VMs run on. Try again when it is back").Because(errLeaving)
}

// asError makes of any error one that a user may be shown.
func asError(err error) *coppice.Error {
	if e, ok := errors.AsType[*coppice.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, coppice.ErrNoSpace):
		return coppice.Errorf(coppice.CodeNoStorage, "the host's storage pool is full: delete VMs or make the pool larger").Because(err)
	case errors.Is(err, coppice.ErrNoRun):
		return coppice.Errorf(coppice.CodeVMNotRunning, "the VM's run ended in the middle of it; start the VM to boot its disk").Because(err)
	case errors.Is(err, context.DeadlineExceeded):
		return coppice.Errorf(coppice.CodeInternal, "it took too long and was given up; try again, and if the VM's process does not answer, kill the VM").Because(err)
	case errors.Is(err, errPreempted), errors.Is(err, context.Canceled):
		return coppice.Errorf(coppice.CodeConflict, "it was cut short by a later request").Because(err)
	}
	return coppice.Errorf(coppice.CodeInternal, "something went wrong inside coppice; the daemon's log says what").Because(err)
}

// startError says why a run did not come up.
func startError(err error) *coppice.Error {
	if e, ok := errors.AsType[*coppice.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, coppice.ErrNoSpace), errors.Is(err, context.Canceled):
		return asError(err)
	case errors.Is(err, coppice.ErrNoRun):
		return coppice.Errorf(coppice.CodeExitDuringStart, "the run ended before the guest was up").Because(err)
	case errors.Is(err, context.DeadlineExceeded):
		return coppice.Errorf(coppice.CodeStartTimeout, "the guest did not answer within %v: its console (coppice logs) may say why", bootDeadline).Because(err)
	}
	return coppice.Errorf(coppice.CodeSpawnProcess, "the VM's process could not be started; the daemon's log says why").Because(err)
}

// exitError says how a run ended that should not have.
func exitError(exit coppice.Exit) *coppice.Error {
	detail := exit.Detail
	if detail == "" {
		detail = string(exit.Kind)
	}
	cause := fmt.Errorf("%w: exit %s: %s", coppice.ErrNoRun, exit.Kind, exit.Detail)
	if exit.Kind == coppice.ExitPanic {
		return coppice.Errorf(coppice.CodeKernelPanic, "the guest's kernel panicked: %s", detail).Because(cause)
	}
	return coppice.Errorf(coppice.CodeExitDuringStart, "the run ended: %s", detail).Because(cause)
}
