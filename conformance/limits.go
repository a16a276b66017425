package conformance

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

// TestQuotas examines how a store holds accounts to their limits. open returns a
// new, empty one, and cleans up by t.
func TestQuotas(t *testing.T, open func(t *testing.T) Records) {
	for name, test := range map[string]func(*testing.T, Records){
		"keeps limits":                     quotasKeepLimits,
		"refuses what is too much":         quotasRefuse,
		"gives back what is not there":     quotasGiveBack,
		"lets what is there become less":   quotasLetLess,
		"counts a VM from its reservation": quotasCountReservations,
		"counts the larger size":           quotasCountTargets,
		"counts snapshots":                 quotasCountSnapshots,
		"fifty at once":                    quotasFiftyAtOnce,
		"lets one of many starts through":  quotasStartsAtOnce,
		"does not count the host's own":    quotasSystem,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// limited returns limits that nothing here comes near, changed by change.
func limited(change func(*coppice.Limits)) coppice.Limits {
	limits := coppice.DefaultLimits
	change(&limits)
	return limits
}

// wantRefusal fails the test unless err is a refusal with that code, limit and current.
func wantRefusal(t *testing.T, err error, code coppice.Code, limit, current int64) {
	t.Helper()
	e, ok := errors.AsType[*coppice.Error](err)
	if !ok || e.Code != code || fmt.Sprint(e.Fields["limit"], e.Fields["current"]) != fmt.Sprint(limit, current) {
		t.Errorf("%v, want %s with limit %d and current %d", err, code, limit, current)
	}
}

func wantUsage(t *testing.T, s Records, want coppice.Usage) {
	t.Helper()
	if got, err := s.Usage(t.Context(), "alice"); err != nil || got != want {
		t.Errorf("usage %+v, %v\nwant  %+v", got, err, want)
	}
}

// running returns a VM of alice's that runs.
func running(id coppice.VMID, size coppice.Size) coppice.VM {
	vm := aBareVM(id, "alice", epoch)
	vm.State, vm.Size = coppice.Running, size
	return vm
}

func quotasKeepLimits(t *testing.T, s Records) {
	get := func(want coppice.Limits) {
		t.Helper()
		if got, err := s.Limits(t.Context(), "alice"); err != nil || got != want {
			t.Errorf("limits %+v, %v, want %+v", got, err, want)
		}
	}
	get(coppice.DefaultLimits)
	for n := range 2 {
		own := coppice.Limits{
			VMs: n, Running: 2, Each: coppice.Size{VCPUs: 3, MemoryMiB: 4, DiskMiB: 5},
			Sum: coppice.Size{VCPUs: 6, MemoryMiB: 7, DiskMiB: coppice.NoLimit}, Snapshots: 9, PTYs: 10,
		}
		must(t, s.SetLimits(t.Context(), "alice", own))
		get(own)
	}
	if got, err := s.Limits(t.Context(), "bob"); err != nil || got != coppice.DefaultLimits {
		t.Errorf("bob's limits %+v, %v", got, err)
	}
}

func quotasRefuse(t *testing.T, s Records) {
	base := running("there", coppice.Size{VCPUs: 2, MemoryMiB: 512, DiskMiB: 100})
	insert(t, s, base)
	next := running("next", coppice.Size{VCPUs: 4, MemoryMiB: 1024, DiskMiB: 200})
	for _, test := range []struct {
		limit          func(*coppice.Limits)
		code           coppice.Code
		limited, there int64
	}{
		{func(l *coppice.Limits) { l.VMs = 1 }, coppice.CodeTotalVMLimit, 1, 1},
		{func(l *coppice.Limits) { l.VMs = 0 }, coppice.CodeTotalVMLimit, 0, 1},
		{func(l *coppice.Limits) { l.Running = 1 }, coppice.CodeVMLimit, 1, 1},
		{func(l *coppice.Limits) { l.Each.VCPUs = 2 }, coppice.CodeVCPUOverPlan, 2, 0},
		{func(l *coppice.Limits) { l.Each.MemoryMiB = 1023 }, coppice.CodeMemOverPlan, 1023, 0},
		{func(l *coppice.Limits) { l.Each.DiskMiB = 199 }, coppice.CodeRootfsOverPlan, 199, 0},
		{func(l *coppice.Limits) { l.Sum.VCPUs = 5 }, coppice.CodeLimitExceeded, 5, 2},
		{func(l *coppice.Limits) { l.Sum.MemoryMiB = 1535 }, coppice.CodeLimitExceeded, 1535, 512},
		{func(l *coppice.Limits) { l.Sum.DiskMiB = 299 }, coppice.CodeRootfsQuota, 299, 100},
		// Of several the first counts.
		{func(l *coppice.Limits) { l.VMs, l.Running, l.Sum = 1, 1, coppice.Size{} }, coppice.CodeTotalVMLimit, 1, 1},
	} {
		must(t, s.SetLimits(t.Context(), "alice", limited(test.limit)))
		wantRefusal(t, s.InsertVM(t.Context(), next), test.code, test.limited, test.there)
		if _, err := s.VM(t.Context(), next.ID); !errors.Is(err, coppice.ErrNoVM) {
			t.Errorf("%s: refused, and yet it is there: %v", test.code, err)
		}
	}
	must(t, s.SetLimits(t.Context(), "alice", coppice.Limits{
		VMs: 2, Running: 2, Each: next.Size, Sum: coppice.Size{VCPUs: 6, MemoryMiB: 1536, DiskMiB: 300},
	}))
	insert(t, s, next) // that is just as much as it may have
	wantUsage(t, s, coppice.Usage{VMs: 2, Running: 2, Each: next.Size, Sum: coppice.Size{VCPUs: 6, MemoryMiB: 1536, DiskMiB: 300}})
	stranger := running("stranger", next.Size)
	stranger.Account = "bob"
	insert(t, s, stranger)
}

func quotasGiveBack(t *testing.T, s Records) {
	must(t, s.SetLimits(t.Context(), "alice", limited(func(l *coppice.Limits) { l.VMs = 1 })))
	vm := running("first", coppice.Size{VCPUs: 1, MemoryMiB: 1, DiskMiB: 1})
	insert(t, s, vm)
	_, err := s.UpdateVM(t.Context(), vm.ID, func(vm *coppice.VM) error {
		vm.State, vm.DeletedAt = coppice.Absent, epoch.Add(time.Hour)
		return nil
	})
	must(t, err)
	wantUsage(t, s, coppice.Usage{})
	vm.ID = "second"
	insert(t, s, vm)
}

func quotasLetLess(t *testing.T, s Records) {
	vm := running("vm", coppice.Size{VCPUs: 4, MemoryMiB: 4, DiskMiB: 4})
	insert(t, s, vm)
	must(t, s.SetLimits(t.Context(), "alice", coppice.Limits{}))
	for _, change := range []func(*coppice.VM){
		func(vm *coppice.VM) { vm.Name = "renamed" },
		func(vm *coppice.VM) { vm.Size.VCPUs = 2 },
		func(vm *coppice.VM) { vm.Verb = coppice.Suspend },
		func(vm *coppice.VM) { vm.State, vm.Verb = coppice.Suspended, coppice.Idle },
	} {
		_, err := s.UpdateVM(t.Context(), vm.ID, func(vm *coppice.VM) error { change(vm); return nil })
		must(t, err)
	}
	_, err := s.UpdateVM(t.Context(), vm.ID, func(vm *coppice.VM) error { vm.Verb = coppice.Resume; return nil })
	wantRefusal(t, err, coppice.CodeVMLimit, 0, 0)
	if got, err := s.VM(t.Context(), vm.ID); err != nil || got.Verb != coppice.Idle {
		t.Errorf("refused, and yet it is %+v, %v", got, err)
	}
}

func quotasCountReservations(t *testing.T, s Records) {
	size := coppice.Size{VCPUs: 2, MemoryMiB: 512, DiskMiB: 100}
	vm := running("vm", size)
	insert(t, s, vm)
	runs := coppice.Usage{VMs: 1, Running: 1, Each: size, Sum: size}
	rests := coppice.Usage{VMs: 1, Each: size, Sum: coppice.Size{DiskMiB: 100}}
	for _, c := range []struct {
		state coppice.State
		verb  coppice.Verb
		run   coppice.InstanceID
		want  coppice.Usage
	}{
		{coppice.Absent, coppice.Restore, "run", runs},
		{coppice.Absent, coppice.Restore, "", rests},
		{coppice.Stopped, coppice.Start, "run", runs},
		{coppice.Suspended, coppice.Resume, "run", runs},
		{coppice.Running, coppice.Idle, "run", runs},
		{coppice.Running, coppice.Reboot, "run", runs},
		{coppice.Running, coppice.Stop, "run", runs},
		{coppice.Running, coppice.Delete, "run", runs},
		{coppice.Stopped, coppice.Idle, "run", rests},
		{coppice.Stopped, coppice.Cut, "run", rests},
		{coppice.Suspended, coppice.Idle, "run", rests},
		{coppice.Failed, coppice.Idle, "run", rests},
	} {
		_, err := s.UpdateVM(t.Context(), vm.ID, func(vm *coppice.VM) error {
			vm.State, vm.Verb, vm.Instance = c.state, c.verb, c.run
			return nil
		})
		must(t, err)
		wantUsage(t, s, c.want)
	}
}

func quotasCountTargets(t *testing.T, s Records) {
	vm := running("vm", coppice.Size{VCPUs: 2, MemoryMiB: 512, DiskMiB: 100})
	insert(t, s, vm)
	must(t, s.SetLimits(t.Context(), "alice", limited(func(l *coppice.Limits) { l.Sum.MemoryMiB = 1024 })))
	aim := func(memory int64) error {
		_, err := s.UpdateVM(t.Context(), vm.ID, func(vm *coppice.VM) error {
			vm.Verb, vm.Target = coppice.Resize, coppice.Size{VCPUs: 1, MemoryMiB: memory, DiskMiB: 200}
			return nil
		})
		return err
	}
	wantRefusal(t, aim(2048), coppice.CodeLimitExceeded, 1024, 512)
	must(t, aim(1024))
	larger := coppice.Size{VCPUs: 2, MemoryMiB: 1024, DiskMiB: 200}
	wantUsage(t, s, coppice.Usage{VMs: 1, Running: 1, Each: larger, Sum: larger})
}

func quotasCountSnapshots(t *testing.T, s Records) {
	must(t, s.SetLimits(t.Context(), "alice", limited(func(l *coppice.Limits) { l.Snapshots = 1 })))
	snapshot := coppice.Capture{
		ID: "snapshot", Account: "alice", CreatedAt: epoch, Size: coppice.Size{VCPUs: 1, MemoryMiB: 1, DiskMiB: 1},
		Persistence: coppice.Persistence{Type: coppice.Sticky},
	}
	must(t, s.InsertCapture(t.Context(), snapshot)) // from when it is begun
	another := snapshot
	another.ID = "another"
	wantRefusal(t, s.InsertCapture(t.Context(), another), coppice.CodeSnapshotLimit, 1, 1)
	another.Persistence = coppice.Persistence{} // to fork from
	must(t, s.InsertCapture(t.Context(), another))
	wantUsage(t, s, coppice.Usage{Snapshots: 1})
	_, err := s.UpdateCapture(t.Context(), another.ID, func(c *coppice.Capture) error { c.Persistence = snapshot.Persistence; return nil })
	wantRefusal(t, err, coppice.CodeSnapshotLimit, 1, 1)
	_, err = s.UpdateCapture(t.Context(), snapshot.ID, func(c *coppice.Capture) error { c.DeletedAt = epoch.Add(1); return nil })
	must(t, err)
	wantUsage(t, s, coppice.Usage{})
}

func quotasFiftyAtOnce(t *testing.T, s Records) {
	must(t, s.SetLimits(t.Context(), "alice", limited(func(l *coppice.Limits) { l.VMs = 10 })))
	outcomes := atOnce(50, func(i int) error {
		return s.InsertVM(t.Context(), running(coppice.VMID(fmt.Sprint(i)), coppice.Size{VCPUs: 1, MemoryMiB: 1, DiskMiB: 1}))
	})
	wantTen(t, outcomes, coppice.CodeTotalVMLimit)
	if vms, err := s.VMs(t.Context(), coppice.VMFilter{}); err != nil || len(vms) != 10 {
		t.Errorf("%d VMs are there, %v", len(vms), err)
	}
}

func quotasStartsAtOnce(t *testing.T, s Records) {
	for i := range 50 {
		vm := running(coppice.VMID(fmt.Sprint(i)), coppice.Size{VCPUs: 1, MemoryMiB: 1, DiskMiB: 1})
		vm.State = coppice.Stopped
		insert(t, s, vm)
	}
	must(t, s.SetLimits(t.Context(), "alice", limited(func(l *coppice.Limits) { l.Running = 10 })))
	outcomes := atOnce(50, func(i int) error {
		_, err := s.UpdateVM(t.Context(), coppice.VMID(fmt.Sprint(i)), func(vm *coppice.VM) error { vm.Verb = coppice.Start; return nil })
		return err
	})
	wantTen(t, outcomes, coppice.CodeVMLimit)
}

// atOnce does something n times at the same time and returns how each went.
func atOnce(n int, do func(i int) error) []error {
	outcomes := make([]error, n)
	var wg sync.WaitGroup
	for i := range outcomes {
		wg.Go(func() { outcomes[i] = do(i) })
	}
	wg.Wait()
	return outcomes
}

// wantTen fails the test unless ten worked and all others were refused by a limit of ten.
func wantTen(t *testing.T, outcomes []error, code coppice.Code) {
	t.Helper()
	worked := 0
	for _, err := range outcomes {
		if err == nil {
			worked++
			continue
		}
		wantRefusal(t, err, code, 10, 10)
	}
	if worked != 10 {
		t.Errorf("%d worked, want 10", worked)
	}
}

func quotasSystem(t *testing.T, s Records) {
	must(t, s.SetLimits(t.Context(), coppice.SystemAccount, coppice.Limits{}))
	vm := running("vm", coppice.Size{VCPUs: 1, MemoryMiB: 1, DiskMiB: 1})
	vm.Account = coppice.SystemAccount
	insert(t, s, vm)
}
