//go:build failpoints

package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
	"github.com/coppice-vm/coppice/mem"
)

// What a subject has on its disk and in its memory.
const (
	onDisk   = "on the disk"
	inMemory = "in the memory"
)

// A subject is what a scenario is about.
type subject struct {
	vm       coppice.VM
	snapshot coppice.CaptureID
	since    time.Time // what is younger was made by the scenario
}

// A scenario is something that is asked of a host.
type scenario struct {
	name   string
	stocks int
	// opens says that another daemon is opened for it, as a part of it.
	opens bool
	// with are faults that belong to it.
	with faults
	// slow says that what fails is not tried again for longer than a test waits.
	slow bool
	// before brings a host to where it begins.
	before func(context.Context, *world) (subject, error)
	// act is what is asked. It can be asked again.
	act func(context.Context, *world, subject) error
	// leads are the states that the subject may be in when act has been done;
	// empty is the one it was in. between are those that it may also be in when
	// act was cut short, and fails those besides the table's where a step failed.
	leads, between, fails []coppice.State
	// resumes says that a new run of the subject goes on with its memory.
	resumes bool
	// child is the state of what act makes; childMemory that it has the subject's
	// memory, and its disk if there is a subject.
	child       coppice.State
	childMemory bool
	// forks is how many act makes, if not one.
	forks int
	// acked returns an error if what act did is not there when it has been
	// acknowledged; nil where the states say it all.
	acked func(context.Context, *world, subject) error
}

// children returns how many VMs act makes.
func (sc *scenario) children() int {
	if sc.child == "" {
		return 0
	}
	return max(sc.forks, 1)
}

// States that scenarios lead to.
var (
	run   = []coppice.State{coppice.Running}
	sleep = []coppice.State{coppice.Suspended}
	rest  = []coppice.State{coppice.Stopped}
	gone  = []coppice.State{coppice.Absent}
)

var scenarios = []scenario{
	{name: "create", before: nothing, act: create(coppice.NewVM{}), child: coppice.Running},
	{name: "create of another size", before: nothing, act: create(coppice.NewVM{Size: coppice.Size{MemoryMiB: 1024}}), child: coppice.Running},
	{name: "create, with spares", stocks: 1, before: stocked, act: create(coppice.NewVM{}), child: coppice.Running},
	{name: "create from a snapshot", before: snapshotted(running), act: fromSnapshot, child: coppice.Running, childMemory: true},
	{name: "create from a snapshot of a stopped VM", before: snapshotted(stopped), act: fromSnapshot, child: coppice.Running},
	{name: "fork", before: running, act: fork(coppice.ForkSpec{Count: 2}), child: coppice.Running, childMemory: true, forks: 2},
	{name: "fork, with husks", stocks: 1, before: then(running, stocked), act: fork(coppice.ForkSpec{Count: 1}), child: coppice.Running, childMemory: true},
	{name: "fork of a suspended VM", before: suspended, act: fork(coppice.ForkSpec{Count: 1}), child: coppice.Running, childMemory: true},
	{name: "fork of a stopped VM", before: stopped, act: fork(coppice.ForkSpec{Count: 1}), child: coppice.Running},
	{name: "fork of a stopped VM that stays so", before: stopped, act: fork(coppice.ForkSpec{Count: 1, LeaveStopped: true}), child: coppice.Stopped},
	{name: "start", before: stopped, act: start, leads: run},
	{name: "start of a lost VM", before: lost, act: start, leads: run, between: rest},
	{name: "resume", before: suspended, act: start, leads: run, resumes: true},
	{name: "resume, by use", before: suspended, act: use, leads: run, resumes: true},
	{name: "resume, with husks", stocks: 1, before: then(suspended, stocked), act: start, leads: run, resumes: true},
	{name: "suspend", before: running, act: suspend, leads: sleep},
	{name: "suspend of one that deletes", before: ephemeral(coppice.OnSuspend), act: suspend, leads: gone},
	{name: "suspend, by idleness", before: running, slow: true, act: idle, leads: sleep},
	{name: "suspend that fails when the guest is paused", with: faults{{Point: "Pool.CommitCapture", N: 1}: failpoint.Fault(syscall.EIO)}, before: running, act: trySuspend, leads: []coppice.State{coppice.Running, coppice.Suspended}},
	{name: "stop", before: running, act: stop, leads: rest},
	{name: "stop of a suspended VM", before: suspended, act: stop, leads: rest},
	{name: "stop of one that deletes", before: ephemeral(coppice.OnStop), act: stop, leads: gone},
	{name: "kill", before: running, act: kill, leads: rest},
	{name: "kill of a suspended VM", before: suspended, act: kill, leads: rest},
	{name: "kill of a lost VM", before: lost, act: kill, leads: rest},
	{name: "power-off by the guest", before: running, act: exits(coppice.ExitPowerOff, coppice.Stopped), leads: rest},
	{name: "reboot by the guest", before: running, act: reboot, leads: run},
	{name: "crash of the VMM", before: running, act: exits(coppice.ExitCrash, coppice.Failed), leads: []coppice.State{coppice.Failed, coppice.Stopped}},
	{name: "snapshot", before: running, act: snapshot, acked: hasSnapshot},
	{name: "snapshot of a suspended VM", before: suspended, act: snapshot, acked: hasSnapshot},
	{name: "snapshot of a stopped VM", before: stopped, act: snapshot, acked: hasSnapshot},
	{name: "delete of a snapshot", before: snapshotted(running), act: deleteSnapshot, acked: hasNoSnapshot},
	{name: "delete of a snapshot that is needed", before: grown, act: deleteSnapshot, acked: hasNoSnapshot},
	{name: "resize", before: running, act: resize, acked: hasSize, leads: run, fails: []coppice.State{coppice.Failed}},
	{name: "resize of a suspended VM", before: suspended, act: resize, acked: hasSize, leads: rest},
	{name: "resize of a stopped VM", before: stopped, act: resize, acked: hasSize},
	{name: "delete", before: running, act: remove, leads: gone},
	{name: "delete of a suspended VM", before: suspended, act: remove, leads: gone},
	{name: "delete of a stopped VM", before: stopped, act: remove, leads: gone},
	{name: "delete of a lost VM", before: lost, act: remove, leads: gone},
	{name: "optimize", before: forked, act: optimize},
	{name: "evict", before: suspended, act: evict, leads: gone},
	{name: "change of what may be reached", before: running, act: setEgress, acked: hasEgress},

	{name: "opening", opens: true, before: household, act: settle},
	{name: "opening after the host was rebooted", opens: true, before: rebooted(household, false), act: settle, leads: rest},
	{name: "opening after the host was rebooted, starting again", opens: true, before: rebooted(household, true), act: settle, leads: run, fails: rest},
	{name: "opening after a death while starting again", opens: true, before: cutOpening(rebooted(household, true), "Hypervisor.Start/done"), act: settle, leads: run, fails: rest},
	{name: "opening, with what is made ahead", stocks: 1, opens: true, slow: true, before: running, act: restocked},
	{name: "opening after a create", opens: true, before: cut(nothing, create(coppice.NewVM{}), "Hypervisor.Start/done"), act: settle},
	{name: "opening after a fork", opens: true, before: cut(running, fork(coppice.ForkSpec{Count: 1}), "Pool.CommitCapture"), act: settle},
	{name: "opening after a start", opens: true, before: cut(stopped, start, "Hypervisor.Start/done"), act: settle, leads: run},
	{name: "opening after a resume", opens: true, before: cut(suspended, start, "Guest.Connect/done"), act: settle, leads: run, resumes: true},
	{name: "opening after a suspend", opens: true, before: cut(running, suspend, "Run.Capture/done"), act: settle},
	{name: "opening after a suspend that was done", opens: true, before: cut(running, suspend, "Run.Kill"), act: settle, leads: sleep},
	{name: "opening after a stop", opens: true, before: cut(running, stop, "Session.Shutdown"), act: settle, leads: rest},
	{name: "opening after a kill", opens: true, before: cut(running, kill, "Run.Kill/done"), act: settle, leads: rest},
	{name: "opening after a reboot", opens: true, before: cut(running, reboot, "Run.Kill/done"), act: settle, leads: run},
	{name: "opening after a resize", opens: true, before: cut(running, resize, "Pool.ResizeVM/done"), act: settle, leads: run, fails: []coppice.State{coppice.Failed}},
	{name: "opening after a delete", opens: true, before: cut(suspended, remove, "Pool.RemoveVM"), act: settle, leads: gone},
}

func nothing(context.Context, *world) (subject, error) { return subject{}, nil }

// then returns a host brought to where before and after bring it, one after the other.
func then(before, after func(context.Context, *world) (subject, error)) func(context.Context, *world) (subject, error) {
	return func(ctx context.Context, w *world) (subject, error) {
		s, err := before(ctx, w)
		if err == nil {
			_, err = after(ctx, w)
		}
		return s, err
	}
}

// stocked waits until what is made ahead is there.
func stocked(ctx context.Context, w *world) (subject, error) {
	for {
		vms, err := w.db.VMs(ctx, coppice.VMFilter{})
		if err != nil {
			return subject{}, err
		}
		runs, err := w.hv.Runs(ctx)
		runs = slices.DeleteFunc(runs, func(id coppice.VMID) bool {
			return slices.ContainsFunc(vms, func(vm coppice.VM) bool { return vm.ID == id })
		})
		if err != nil || len(runs) == 2*w.stocks {
			w.quiet()
			return subject{}, err
		}
		if err := pause(ctx); err != nil {
			return subject{}, err
		}
	}
}

// pause is between two looks.
func pause(ctx context.Context) error {
	select {
	case <-time.After(2 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func running(ctx context.Context, w *world) (subject, error) {
	return begin(ctx, w, coppice.NewVM{})
}

// begin makes a VM with something on its disk and in its memory.
func begin(ctx context.Context, w *world, spec coppice.NewVM) (subject, error) {
	spec.Account = alice
	vm, err := w.Create(ctx, spec)
	if err != nil {
		return subject{}, err
	}
	_, writeErr := w.exec(ctx, vm.ID, "write "+onDisk)
	_, keepErr := w.exec(ctx, vm.ID, "keep "+inMemory)
	return subject{vm: vm}, errors.Join(writeErr, keepErr)
}

func ephemeral(event coppice.DeleteEvent) func(context.Context, *world) (subject, error) {
	return func(ctx context.Context, w *world) (subject, error) {
		return begin(ctx, w, coppice.NewVM{Persistence: coppice.Persistence{Type: coppice.Ephemeral, DeleteEvent: event}})
	}
}

func suspended(ctx context.Context, w *world) (subject, error) {
	s, err := running(ctx, w)
	if err == nil {
		s.vm, err = w.Suspend(ctx, alice, s.vm.ID)
	}
	return s, err
}

func stopped(ctx context.Context, w *world) (subject, error) {
	s, err := running(ctx, w)
	if err == nil {
		s.vm, err = w.Stop(ctx, alice, s.vm.ID)
	}
	return s, err
}

// lost is a VM whose process ended while no daemon was there.
func lost(ctx context.Context, w *world) (subject, error) {
	s, err := running(ctx, w)
	if err != nil {
		return s, err
	}
	w.leave()
	w.hv.End(s.vm.ID, coppice.Exit{Kind: coppice.ExitCrash})
	if err := w.open(nil); err != nil {
		return s, err
	}
	s.vm, err = w.await(ctx, s.vm.ID, func(vm *coppice.VM) bool { return vm.State == coppice.Failed })
	return s, err
}

func snapshotted(before func(context.Context, *world) (subject, error)) func(context.Context, *world) (subject, error) {
	return func(ctx context.Context, w *world) (subject, error) {
		s, err := before(ctx, w)
		if err != nil {
			return s, err
		}
		c, err := w.TakeSnapshot(ctx, alice, s.vm.ID, "kept", coppice.Persistence{})
		s.snapshot = c.ID
		return s, err
	}
}

// grown is a VM that was made from a snapshot.
func grown(ctx context.Context, w *world) (subject, error) {
	s, err := snapshotted(running)(ctx, w)
	if err != nil {
		return s, err
	}
	if _, err := w.Delete(ctx, alice, s.vm.ID); err != nil {
		return s, err
	}
	s.vm, err = w.Create(ctx, coppice.NewVM{Account: alice, Snapshot: s.snapshot})
	return s, err
}

// forked is the child of a fork.
func forked(ctx context.Context, w *world) (subject, error) {
	s, err := running(ctx, w)
	if err != nil {
		return s, err
	}
	forks, err := w.Fork(ctx, alice, s.vm.ID, coppice.ForkSpec{Count: 1})
	if err != nil {
		return s, err
	}
	return subject{vm: forks[0].VM}, forks[0].Err
}

// household is a host with a VM in every state.
func household(ctx context.Context, w *world) (subject, error) {
	_, suspendedErr := suspended(ctx, w)
	_, stoppedErr := stopped(ctx, w)
	s, err := running(ctx, w)
	return s, errors.Join(suspendedErr, stoppedErr, err)
}

// cut is a host whose daemon has died in an act, at the first passage of a point.
func cut(before func(context.Context, *world) (subject, error), act func(context.Context, *world, subject) error, at string) func(context.Context, *world) (subject, error) {
	return func(ctx context.Context, w *world) (subject, error) {
		s, err := before(ctx, w)
		if err != nil {
			return s, err
		}
		w.quiet()
		there := failpoint.Passage{Point: at, N: 1}
		w.life.Begin(faults{there: failpoint.Kill})
		err = act(ctx, w, s)
		if !w.life.Passed(there) {
			return s, fmt.Errorf("it never passed %s: %w", at, err)
		}
		return s, nil
	}
}

// rebooted is a host that has been rebooted, whose daemon has VMs start again or not.
func rebooted(before func(context.Context, *world) (subject, error), startAgain bool) func(context.Context, *world) (subject, error) {
	return func(ctx context.Context, w *world) (subject, error) {
		s, err := before(ctx, w)
		if err != nil {
			return s, err
		}
		w.leave()
		w.hv, w.net = mem.NewHypervisor(hostFiles{}), mem.NewNetwork()
		w.boots++
		w.startAgain = startAgain
		return s, nil
	}
}

// cutOpening is a host whose daemon has died when it was opened, at the first
// passage of a point.
func cutOpening(before func(context.Context, *world) (subject, error), at string) func(context.Context, *world) (subject, error) {
	return func(ctx context.Context, w *world) (subject, error) {
		s, err := before(ctx, w)
		if err != nil {
			return s, err
		}
		there := failpoint.Passage{Point: at, N: 1}
		err = w.open(faults{there: failpoint.Kill})
		for err == nil && !w.life.Passed(there) {
			err = pause(ctx)
		}
		return s, err
	}
}

// await waits until a VM that nothing is done to is as it should be.
func (w *world) await(ctx context.Context, id coppice.VMID, ok func(*coppice.VM) bool) (coppice.VM, error) {
	for {
		vm, err := w.db.VM(ctx, id)
		if err != nil || vm.Verb == coppice.Idle && ok(&vm) {
			return vm, err
		}
		if err := pause(ctx); err != nil {
			return vm, fmt.Errorf("VM %s remains %s (%s, %q): %w", id, vm.State, vm.Verb, vm.Reason, err)
		}
	}
}

func create(spec coppice.NewVM) func(context.Context, *world, subject) error {
	spec.Account = alice
	return func(ctx context.Context, w *world, _ subject) error {
		_, err := w.Create(ctx, spec)
		return err
	}
}

func fromSnapshot(ctx context.Context, w *world, s subject) error {
	_, err := w.Create(ctx, coppice.NewVM{Account: alice, Snapshot: s.snapshot})
	return err
}

func fork(spec coppice.ForkSpec) func(context.Context, *world, subject) error {
	return func(ctx context.Context, w *world, s subject) error {
		forks, err := w.Fork(ctx, alice, s.vm.ID, spec)
		for _, f := range forks {
			err = errors.Join(err, f.Err)
		}
		return err
	}
}

func start(ctx context.Context, w *world, s subject) error {
	_, err := w.Start(ctx, alice, s.vm.ID, coppice.StartOptions{})
	return err
}

func use(ctx context.Context, w *world, s subject) error {
	_, err := w.exec(ctx, s.vm.ID, "true")
	return err
}

func suspend(ctx context.Context, w *world, s subject) error {
	_, err := w.Suspend(ctx, alice, s.vm.ID)
	if s.vm.Persistence.Type == coppice.Ephemeral && coppice.CodeOf(err) == coppice.CodeVMNotRunning {
		return remove(ctx, w, s) // as one is told whose delete has failed
	}
	return missing(err, s)
}

// trySuspend is suspend that may fail.
func trySuspend(ctx context.Context, w *world, s subject) error {
	if err := suspend(ctx, w, s); err != nil && !w.life.Passed(failpoint.Passage{Point: "Pool.CommitCapture", N: 1}) {
		return err
	}
	return ctx.Err() // which is over if the daemon is
}

func stop(ctx context.Context, w *world, s subject) error {
	_, err := w.Stop(ctx, alice, s.vm.ID)
	return missing(err, s)
}

// settle waits until the host is in order.
func settle(ctx context.Context, w *world, _ subject) error {
	return w.inOrder(ctx)
}

// restocked waits until what is made ahead is there.
func restocked(ctx context.Context, w *world, _ subject) error {
	_, err := stocked(ctx, w)
	return err
}

// missing returns err, unless it only says that a VM is deleted by now that
// deletes itself.
func missing(err error, s subject) error {
	if s.vm.Persistence.Type == coppice.Ephemeral && coppice.CodeOf(err) == coppice.CodeVMDeleted {
		return nil
	}
	return err
}

func kill(ctx context.Context, w *world, s subject) error {
	_, err := w.Kill(ctx, alice, s.vm.ID)
	return err
}

func remove(ctx context.Context, w *world, s subject) error {
	_, err := w.Delete(ctx, alice, s.vm.ID)
	return err
}

// idle has the VM reclaimed.
func idle(ctx context.Context, w *world, s subject) error {
	soon := time.Millisecond
	if vm, err := w.db.VM(ctx, s.vm.ID); err != nil || vm.State == coppice.Suspended {
		return err
	}
	if _, err := w.Start(ctx, alice, s.vm.ID, coppice.StartOptions{IdleTimeout: &soon}); err != nil {
		return err
	}
	vm, err := w.await(ctx, s.vm.ID, func(vm *coppice.VM) bool { return vm.State != coppice.Running })
	if err == nil && vm.State != coppice.Suspended {
		return notRunning(&vm)
	}
	return err
}

// notRunning says why a VM does not run, as one is told who asks.
func notRunning(vm *coppice.VM) error {
	return coppice.Errorf(coppice.CodeVMNotRunning, "%s", vm.Reason)
}

// exits has the guest's run end so, if it runs.
func exits(kind coppice.ExitKind, to coppice.State) func(context.Context, *world, subject) error {
	return func(ctx context.Context, w *world, s subject) error {
		vm, err := w.db.VM(ctx, s.vm.ID)
		if err != nil || vm.State != coppice.Running {
			return err
		}
		w.hv.End(s.vm.ID, coppice.Exit{Kind: kind, Detail: "so it was asked"})
		_, err = w.await(ctx, s.vm.ID, func(vm *coppice.VM) bool {
			return vm.State == to || vm.State == coppice.Stopped || vm.State == coppice.Failed && w.crashed.Load()
		})
		return err
	}
}

// reboot has the guest reset itself.
func reboot(ctx context.Context, w *world, s subject) error {
	was, err := w.db.VM(ctx, s.vm.ID)
	if err != nil {
		return err
	}
	if was.State != coppice.Running {
		return start(ctx, w, s)
	}
	w.hv.End(s.vm.ID, coppice.Exit{Kind: coppice.ExitReboot})
	now, err := w.await(ctx, s.vm.ID, func(vm *coppice.VM) bool { return vm.Instance != was.Instance || vm.State != coppice.Running })
	if err == nil && now.State != coppice.Running {
		return notRunning(&now)
	}
	return err
}

func snapshot(ctx context.Context, w *world, s subject) error {
	_, err := w.TakeSnapshot(ctx, alice, s.vm.ID, "kept", coppice.Persistence{})
	return err
}

// hasSnapshot returns an error if the subject has no snapshot that is whole.
func hasSnapshot(ctx context.Context, w *world, s subject) error {
	kept, err := w.Snapshots(ctx, alice)
	kept = slices.DeleteFunc(kept, func(c coppice.Capture) bool { return !c.Keep || c.Source != s.vm.ID })
	if err != nil || len(kept) == 0 {
		return fmt.Errorf("VM %s has no snapshot: %w", s.vm.ID, err)
	}
	for _, c := range kept {
		files := w.files.Capture(c.ID)
		disk, _, err := hostFiles{}.ReadFile(files.Disk)
		memory := []byte(inMemory)
		if c.Live {
			var memoryErr error
			memory, _, memoryErr = hostFiles{}.ReadFile(files.Memory)
			err = errors.Join(err, memoryErr)
		}
		if err != nil || string(disk) != onDisk || string(memory) != inMemory {
			return fmt.Errorf("snapshot %s (%q) has the disk %q and the memory %q: %w", c.ID, c.Name, disk, memory, err)
		}
	}
	return nil
}

func hasNoSnapshot(ctx context.Context, w *world, s subject) error {
	if _, err := w.Snapshot(ctx, alice, s.snapshot); coppice.CodeOf(err) != coppice.CodeSnapshotNotFound {
		return fmt.Errorf("the snapshot is there: %w", err)
	}
	return nil
}

func deleteSnapshot(ctx context.Context, w *world, s subject) error {
	err := w.DeleteSnapshot(ctx, alice, s.snapshot)
	if coppice.CodeOf(err) == coppice.CodeSnapshotNotFound {
		return nil // it has been
	}
	return err
}

// newSize is what VMs are resized to.
var newSize = coppice.Size{VCPUs: 1, MemoryMiB: 1024, DiskMiB: 2}

// hasSize returns an error if the subject has not the size that it was resized to,
// or its disk or its guest has not.
func hasSize(ctx context.Context, w *world, s subject) error {
	vm, err := w.db.VM(ctx, s.vm.ID)
	if err != nil {
		return err
	}
	_, disk, err := hostFiles{}.ReadFile(w.files.VM(vm.ID).Disk)
	if err != nil || vm.Size != newSize || vm.Target != (coppice.Size{}) || disk != newSize.DiskMiB<<20 {
		return fmt.Errorf("its size is %+v, and is to be %+v, and its disk has %d bytes: %w", vm.Size, vm.Target, disk, err)
	}
	return nil
}

func resize(ctx context.Context, w *world, s subject) error {
	disk, memory := newSize.DiskMiB, newSize.MemoryMiB
	for {
		vm, err := w.Resize(ctx, alice, s.vm.ID, coppice.ResizeSpec{DiskMiB: &disk, MemoryMiB: &memory, DiscardMemory: true})
		switch code := coppice.CodeOf(err); {
		case err == nil && vm.Size != newSize:
			return fmt.Errorf("it was resized to %+v", vm.Size)
		case err == nil, code != coppice.CodeConflict && code != coppice.CodeVMNotRunning:
			return err
		case pause(ctx) != nil: // what became of an earlier one is not seen to
			return err
		}
	}
}

func optimize(ctx context.Context, w *world, s subject) error {
	_, err := w.Optimize(ctx, alice, s.vm.ID)
	return err
}

// evict has storage run short until the VM is gone.
func evict(ctx context.Context, w *world, s subject) error {
	plenty, err := w.gauge.Capacity(ctx)
	if err != nil {
		return err
	}
	short := plenty
	short.FreeStorageMiB = 1
	w.gauge.Set(short)
	defer w.gauge.Set(plenty)
	w.Create(ctx, coppice.NewVM{Account: alice}) // for which there is no room: it has storage looked at
	vm, err := w.await(ctx, s.vm.ID, func(vm *coppice.VM) bool { return vm.Deleted() || vm.State == coppice.Failed })
	if err == nil && !vm.Deleted() {
		return errors.Join(errors.New(vm.Reason), remove(ctx, w, s))
	}
	return err
}

func setEgress(ctx context.Context, w *world, s subject) error {
	if _, err := w.SetEgress(ctx, alice, s.vm.ID, coppice.EgressClosed); err != nil {
		return err
	}
	if w.crashed.Load() { // its run may have ended, which is not on record yet
		return nil
	}
	return hasEgress(ctx, w, s)
}

// hasEgress returns an error if the subject's policy is not the one it was given,
// on record and in force.
func hasEgress(ctx context.Context, w *world, s subject) error {
	vm, err := w.db.VM(ctx, s.vm.ID)
	in := w.net.Egress(s.vm.ID)
	if err != nil || vm.Egress != coppice.EgressClosed || vm.State == coppice.Running && in != coppice.EgressClosed {
		return fmt.Errorf("the policy on record is %q, the one in force %q: %w", vm.Egress, in, err)
	}
	return nil
}
