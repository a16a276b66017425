package lifecycle_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coppice-vm/coppice"
)

func (h *host) fork(id coppice.VMID, spec coppice.ForkSpec) []coppice.VM {
	h.t.Helper()
	forks, err := h.Fork(h.t.Context(), alice, id, spec)
	if err != nil {
		h.t.Fatal(err)
	}
	if len(forks) != spec.Count {
		h.t.Fatalf("%d forks, want %d", len(forks), spec.Count)
	}
	var vms []coppice.VM
	for _, f := range forks {
		vms = append(vms, h.must(f.VM, f.Err))
	}
	return vms
}

// The children of a VM that runs remember what it did then, run as themselves, and
// take what they share with them when the last of them goes.
func TestForkOfARunningVM(t *testing.T) {
	h := newHost(t)
	parent := h.create()
	h.hv.Poke(parent.ID, []byte("warm"))
	ephemeral, hour := coppice.Persistence{Type: coppice.Ephemeral}, time.Hour
	children := h.fork(parent.ID, coppice.ForkSpec{Count: 7, Name: "kid", Persistence: &ephemeral, IdleTimeout: &hour})

	seen := map[coppice.InstanceID]bool{parent.Instance: true}
	for i, child := range children {
		if child.State != coppice.Running || child.Parent != parent.ID || child.Size != parent.Size ||
			child.Persistence != ephemeral || child.IdleTimeout != hour || child.Name != fmt.Sprintf("kid-%d", i+1) {
			t.Errorf("child %d is %+v", i, child)
		}
		if seen[child.Instance] {
			t.Errorf("child %d has the instance of another", i)
		}
		seen[child.Instance] = true
		if got := string(h.hv.Peek(child.ID)); got != "warm" {
			t.Errorf("child %d remembers %q", i, got)
		}
	}
	if after := h.await(parent.ID, coppice.Running); after.Instance != parent.Instance {
		t.Errorf("the parent became %+v", after)
	}
	h.Close(t.Context()) // waits for what nobody else waits for
	h.guest.set(func() {
		if !slices.Contains(h.guest.clocks, parent.ID) {
			t.Error("the parent's clock is behind by the pause")
		}
	})
	h.open()

	// The children live on without their parent, and their capture goes with the last of them.
	h.must(h.Delete(t.Context(), alice, parent.ID))
	for i, child := range children {
		if captures, _ := h.pool.Captures(t.Context()); len(captures) != 2 { // the template's and theirs
			t.Errorf("before child %d went there were captures %v", i, captures)
		}
		h.must(h.Delete(t.Context(), alice, child.ID))
	}
	if captures, _ := h.pool.Captures(t.Context()); len(captures) != 1 {
		t.Errorf("after the last child there are captures %v", captures)
	}
	h.clean()
}

// A fork of a fork remembers all that came before it.
func TestForkOfAForkToAnyDepth(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	for depth := range 8 {
		memory := fmt.Appendf(h.hv.Peek(vm.ID), "%d", depth)
		h.hv.Poke(vm.ID, memory)
		child := h.fork(vm.ID, coppice.ForkSpec{Count: 1})[0]
		if string(h.hv.Peek(child.ID)) != string(memory) {
			t.Errorf("depth %d remembers %q, want %q", depth, h.hv.Peek(child.ID), memory)
		}
		vm = child
	}
}

// A VM that sleeps is forked without being woken, and wakes as it fell asleep.
func TestForkOfASuspendedVM(t *testing.T) {
	h := newHost(t)
	parent := h.create()
	h.hv.Poke(parent.ID, []byte("asleep"))
	h.must(h.Suspend(t.Context(), alice, parent.ID))
	child := h.fork(parent.ID, coppice.ForkSpec{Count: 1})[0]
	if got := string(h.hv.Peek(child.ID)); got != "asleep" {
		t.Errorf("the child remembers %q", got)
	}
	h.await(parent.ID, coppice.Suspended)
	h.must(h.Start(t.Context(), alice, parent.ID, coppice.StartOptions{}))
	if got := string(h.hv.Peek(parent.ID)); got != "asleep" {
		t.Errorf("the parent remembers %q", got)
	}
}

// The children of a stopped VM have its disk, and boot unless they are to stay stopped.
func TestForkOfAStoppedVM(t *testing.T) {
	h := newHost(t)
	parent := h.create()
	h.must(h.Stop(t.Context(), alice, parent.ID))
	if err := h.pool.WriteFile(h.pool.VM(parent.ID).Disk, []byte("disk")); err != nil {
		t.Fatal(err)
	}
	booted := h.fork(parent.ID, coppice.ForkSpec{Count: 2})
	stopped := h.fork(parent.ID, coppice.ForkSpec{Count: 2, LeaveStopped: true})
	for i := range 2 {
		if booted[i].State != coppice.Running || stopped[i].State != coppice.Stopped {
			t.Errorf("children are %s and %s", booted[i].State, stopped[i].State)
		}
		for _, id := range []coppice.VMID{booted[i].ID, stopped[i].ID} {
			if disk, _, err := h.pool.ReadFile(h.pool.VM(id).Disk); string(disk) != "disk" || err != nil {
				t.Errorf("the disk of a child is %q, %v", disk, err)
			}
		}
	}
	h.must(h.Start(t.Context(), alice, stopped[0].ID, coppice.StartOptions{}))
}

// Children that are left stopped take neither memory nor a place among the VMs
// that run, but are VMs of the account like others.
func TestForkLeavesStoppedWhereNoneCouldRun(t *testing.T) {
	h := newHost(t)
	parent := h.create()
	h.must(h.Stop(t.Context(), alice, parent.ID))
	h.memory(0)
	h.limit(func(l *coppice.Limits) { l.Running, l.VMs = 0, 3 })
	if _, err := h.Fork(t.Context(), alice, parent.ID, coppice.ForkSpec{Count: 2}); code(err) != coppice.CodeVMLimit {
		t.Errorf("children that would run: %v", err)
	}
	for _, child := range h.fork(parent.ID, coppice.ForkSpec{Count: 2, LeaveStopped: true}) {
		if child.State != coppice.Stopped || child.Instance != "" {
			t.Errorf("a child is %+v", child)
		}
	}
	_, err := h.Fork(t.Context(), alice, parent.ID, coppice.ForkSpec{Count: 1, LeaveStopped: true})
	h.refused("one more", err, coppice.CodeTotalVMLimit, 3, 3)
	h.storage(511)
	h.limit(func(l *coppice.Limits) { l.Running = 0 })
	if _, err := h.Fork(t.Context(), alice, parent.ID, coppice.ForkSpec{Count: 1, LeaveStopped: true}); code(err) != coppice.CodeNoStorage {
		t.Errorf("where the pool is full: %v", err)
	}
}

// What failed has its error, what worked stays, and nothing is left of what failed.
func TestForkFailsChildByChild(t *testing.T) {
	h := newHost(t)
	parent := h.create()
	n := 0
	h.guest.set(func() {
		h.guest.refuse = func(id coppice.GuestIdentity) error {
			if n++; n%2 == 0 {
				return errors.New("no")
			}
			return nil
		}
	})
	forks, err := h.Fork(t.Context(), alice, parent.ID, coppice.ForkSpec{Count: 4})
	if err != nil {
		t.Fatal(err)
	}
	alive := []coppice.VMID{parent.ID}
	for _, f := range forks {
		if f.Err == nil {
			alive = append(alive, f.VM.ID)
		}
	}
	if len(alive) != 3 {
		t.Errorf("of 4 children 2 were to fail: %+v", forks)
	}
	h.clean(alive...)
}

// What cannot be forked, or into what, is refused before anything is done.
func TestForkRefuses(t *testing.T) {
	h := newHost(t)
	parent := h.create()
	for _, count := range []int{-1, 0, 101} {
		if _, err := h.Fork(t.Context(), alice, parent.ID, coppice.ForkSpec{Count: count}); code(err) != coppice.CodeInvalidRequest {
			t.Errorf("count %d: %v", count, err)
		}
	}
	if _, err := h.Fork(t.Context(), alice, parent.ID, coppice.ForkSpec{Count: 1, Name: "two\nlines"}); code(err) != coppice.CodeInvalidRequest {
		t.Errorf("a name of two lines: %v", err)
	}
	h.hv.End(parent.ID, coppice.Exit{Kind: coppice.ExitCrash})
	h.await(parent.ID, coppice.Failed)
	if _, err := h.Fork(t.Context(), alice, parent.ID, coppice.ForkSpec{Count: 1}); code(err) != coppice.CodeVMNotRunning {
		t.Errorf("fork of a lost VM: %v", err)
	}
}

// A VM goes on from where it was suspended, however often, as a run of its own
// each time; a stop gives what it remembered up.
func TestSuspendAndResume(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	for range 3 {
		h.hv.Poke(vm.ID, append(h.hv.Peek(vm.ID), 'x'))
		suspended := h.must(h.Suspend(t.Context(), alice, vm.ID))
		if suspended.State != coppice.Suspended || h.runs(vm.ID) {
			t.Fatalf("suspended: %+v", suspended)
		}
		h.must(h.Suspend(t.Context(), alice, vm.ID)) // again: nothing to do
		resumed := h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
		if resumed.Instance == vm.Instance || resumed.State != coppice.Running {
			t.Errorf("resumed: %+v", resumed)
		}
	}
	if got := string(h.hv.Peek(vm.ID)); got != "xxx" {
		t.Errorf("remembers %q", got)
	}
	if captures, _ := h.pool.Captures(t.Context()); len(captures) != 2 { // the template's, and what it resumed from
		t.Errorf("captures %v", captures)
	}
	h.must(h.Suspend(t.Context(), alice, vm.ID))
	h.must(h.Stop(t.Context(), alice, vm.ID)) // gives the memory up
	h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
	if got := string(h.hv.Peek(vm.ID)); got != "" {
		t.Errorf("after a stop it remembers %q", got)
	}
	h.must(h.Delete(t.Context(), alice, vm.ID))
	h.clean()
}

// A start that meets a suspend wins or waits, and never errs.
func TestStartDuringSuspend(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	for range 50 {
		suspended := make(chan error, 1)
		go func() {
			_, err := h.Suspend(t.Context(), alice, vm.ID)
			suspended <- err
		}()
		h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
		<-suspended // may be refused, if the start was first
		h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
	}
}

// A snapshot outlives its VM, is its account's alone, and goes when it is deleted
// and nothing that came from it needs it.
func TestSnapshots(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.hv.Poke(vm.ID, []byte("then"))
	if _, err := h.TakeSnapshot(t.Context(), alice, vm.ID, "\x00", coppice.Persistence{}); code(err) != coppice.CodeSnapBadRequest {
		t.Errorf("a name that cannot be printed: %v", err)
	}
	c, err := h.TakeSnapshot(t.Context(), alice, vm.ID, "before", coppice.Persistence{})
	if err != nil || c.Name != "before" || c.Source != vm.ID || !c.Live {
		t.Fatalf("snapshot %+v, %v", c, err)
	}
	h.hv.Poke(vm.ID, []byte("now"))
	h.must(h.Delete(t.Context(), alice, vm.ID)) // a snapshot outlives its VM

	if _, err := h.Snapshot(t.Context(), bob, c.ID); code(err) != coppice.CodeSnapshotNotFound {
		t.Errorf("bob gets %v", err)
	}
	if _, err := h.Create(t.Context(), coppice.NewVM{Account: bob, Snapshot: c.ID}); code(err) != coppice.CodeSnapshotNotFound {
		t.Errorf("bob creates from it: %v", err)
	}
	if _, err := h.Create(t.Context(), coppice.NewVM{Account: alice, Snapshot: c.ID, Size: coppice.Size{VCPUs: 2}}); code(err) != coppice.CodeCreateBadRequest {
		t.Errorf("a running machine got more CPUs: %v", err)
	}
	from := h.must(h.Create(t.Context(), coppice.NewVM{Account: alice, Snapshot: c.ID}))
	if got := string(h.hv.Peek(from.ID)); got != "then" || from.Snapshot != c.ID {
		t.Errorf("from the snapshot: %q, %+v", got, from)
	}
	if c, err := h.RenameSnapshot(t.Context(), alice, c.ID, "after"); err != nil || c.Name != "after" {
		t.Errorf("renamed: %+v, %v", c, err)
	}
	if err := h.DeleteSnapshot(t.Context(), alice, c.ID); err != nil {
		t.Error(err)
	}
	if _, err := h.Create(t.Context(), coppice.NewVM{Account: alice, Snapshot: c.ID}); code(err) != coppice.CodeSnapshotNotFound {
		t.Errorf("create from a deleted snapshot: %v", err)
	}
	if all, err := h.Snapshots(t.Context(), alice); err != nil || len(all) != 1 || all[0].DeletedAt.IsZero() {
		t.Errorf("a deleted snapshot that is needed: %+v, %v", all, err)
	}
	h.must(h.Delete(t.Context(), alice, from.ID))
	if all, err := h.Snapshots(t.Context(), alice); err != nil || len(all) != 0 {
		t.Errorf("a deleted snapshot that nothing needs: %+v, %v", all, err)
	}
	h.clean()
}

// Creating never boots, but for the first of a size.
func TestTemplates(t *testing.T) {
	h := newHost(t)
	sizes := []coppice.Size{{}, {VCPUs: 2}, {MemoryMiB: 2048}, {}, {VCPUs: 2, DiskMiB: 5000}}
	for _, size := range sizes {
		vm := h.must(h.Create(t.Context(), coppice.NewVM{Account: alice, Size: size}))
		if console, _ := h.Console(t.Context(), alice, vm.ID); len(console) != 0 {
			t.Errorf("a VM of size %+v booted: %s", size, console)
		}
	}
	if captures, _ := h.pool.Captures(t.Context()); len(captures) != 4 {
		t.Errorf("captures %v, want one for each size", captures)
	}
	// Another VMM cannot start from what this one left.
	h.leave(t.Context())
	h.vmm = "another"
	h.open()
	if _, err := h.Template(t.Context(), h.Size); err != nil {
		t.Fatal(err)
	}
	if captures, _ := h.store.Captures(t.Context(), coppice.SystemAccount); len(captures) < 1 || !strings.HasSuffix(captures[len(captures)-1].Name, "another") {
		t.Errorf("templates %+v", captures)
	}
}

// Who creates a VM of a new size is told why that does not come up, though it is a
// guest that he does not know which has ended.
func TestTemplateGuestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		exit coppice.Exit // none is that only the agent does not work
		want coppice.Code
	}{
		"crash":  {coppice.Exit{Kind: coppice.ExitCrash, Detail: "SIGSEGV"}, coppice.CodeExitDuringStart},
		"panic":  {coppice.Exit{Kind: coppice.ExitPanic, Detail: "no init found"}, coppice.CodeKernelPanic},
		"broken": {want: coppice.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				h.guest.set(func() {
					h.guest.exec = func(id coppice.VMID) error {
						if c.exit.Kind != "" {
							h.hv.End(id, c.exit)
						}
						return coppice.ErrGuestGone
					}
				})
				_, err := h.Create(t.Context(), coppice.NewVM{Account: alice})
				if code(err) != c.want || !strings.Contains(err.Error(), c.exit.Detail) {
					t.Errorf("it was answered %v, want %s", err, c.want)
				}
				h.clean()
			})
		})
	}
}

// A daemon that leaves while it makes a template leaves no process of that behind.
func TestLeavingWhileMakingATemplate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.guest.set(func() { h.guest.mute = true })
		go h.Template(h.t.Context(), coppice.Size{VCPUs: 8, MemoryMiB: 4096, DiskMiB: 5000})
		synctest.Wait()
		if runs, err := h.hv.Runs(t.Context()); len(runs) != 1 {
			t.Fatalf("the template is made of %v, %v", runs, err)
		}
		h.leave(t.Context())
		if runs, err := h.hv.Runs(t.Context()); len(runs) != 0 {
			t.Errorf("what runs on: %v, %v", runs, err)
		}
		h.guest.set(func() { h.guest.mute = false })
		h.open()
		synctest.Wait()
		h.clean()
	})
}

// A create takes a VM that was restored ahead, and none is left behind.
func TestSpares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.leave(t.Context())
		h.spares = 2
		h.open()
		synctest.Wait()
		ahead, _ := h.hv.Runs(t.Context())
		if len(ahead) != 2 {
			t.Fatalf("%d VMs were restored ahead", len(ahead))
		}
		if vms, err := h.store.VMs(t.Context(), coppice.VMFilter{}); err != nil || len(vms) != 0 {
			t.Errorf("somebody owns %v, %v", vms, err)
		}
		a, b, c := h.create(), h.create(), h.create()
		if !slices.Contains(ahead, a.ID) || !slices.Contains(ahead, b.ID) || slices.Contains(ahead, c.ID) {
			t.Errorf("%s, %s and %s were made, %v restored ahead", a.ID, b.ID, c.ID, ahead)
		}
		for _, vm := range []coppice.VM{a, b} {
			if last := h.guest.identityOf(vm.ID); last.Instance != vm.Instance || !last.Fresh {
				t.Errorf("the guest takes itself for %+v, it is %+v", last, vm)
			}
		}
		time.Sleep(time.Minute)
		if now, _ := h.hv.Runs(t.Context()); len(now) != 5 {
			t.Errorf("a while later there are %d processes", len(now))
		}
		// One that is of no use is replaced without anybody noticing.
		h.guest.set(func() {
			h.guest.refuse = func(coppice.GuestIdentity) error {
				h.guest.refuse = nil
				return errors.New("no")
			}
		})
		d := h.create()
		h.Close(t.Context())
		h.clean(a.ID, b.ID, c.ID, d.ID)
	})
}

// A VM that was restored ahead and ends is removed at once, and another takes its
// place after a while.
func TestSpareEnds(t *testing.T) {
	for _, kind := range []coppice.ExitKind{coppice.ExitCrash, coppice.ExitPowerOff} {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(t)
			h.leave(t.Context())
			h.spares = 2
			h.open()
			synctest.Wait()
			ahead, _ := h.hv.Runs(t.Context())
			if len(ahead) != 2 {
				t.Fatalf("%d VMs were restored ahead", len(ahead))
			}
			h.hv.End(ahead[0], coppice.Exit{Kind: kind})
			synctest.Wait()
			h.clean(ahead[1])
			if vm := h.create(); vm.ID != ahead[1] {
				t.Errorf("VM %s was made, and %s was ready", vm.ID, ahead[1])
			}
			time.Sleep(2 * time.Minute)
			if now, _ := h.hv.Runs(t.Context()); len(now) != 3 {
				t.Errorf("a while later there are the processes %v", now)
			}
			h.leave(t.Context())
		})
	}
}

// A fork takes a process that was started ahead, and none is left behind.
func TestHusks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		parent := h.create()
		other := h.must(h.Create(t.Context(), coppice.NewVM{Account: alice, Size: coppice.Size{MemoryMiB: 2048}}))
		h.leave(t.Context())
		h.husks = 2
		h.open()
		synctest.Wait()
		ahead, _ := h.hv.Runs(t.Context())
		ahead = slices.DeleteFunc(ahead, func(id coppice.VMID) bool { return id == parent.ID || id == other.ID })
		if len(ahead) != 2 {
			t.Fatalf("%d processes were started ahead", len(ahead))
		}
		h.hv.Poke(parent.ID, []byte("of the parent"))
		// Of another size they are of no use to.
		forks, err := h.Fork(t.Context(), alice, other.ID, coppice.ForkSpec{Count: 1})
		if err != nil || forks[0].Err != nil || slices.Contains(ahead, forks[0].VM.ID) {
			t.Fatalf("forks %+v, %v; started ahead %v", forks, err, ahead)
		}
		want := []coppice.VMID{parent.ID, other.ID, forks[0].VM.ID}
		forks, err = h.Fork(t.Context(), alice, parent.ID, coppice.ForkSpec{Count: 3})
		if err != nil {
			t.Fatal(err)
		}
		used := 0
		for _, f := range forks {
			if f.Err != nil || string(h.hv.Peek(f.VM.ID)) != "of the parent" {
				t.Errorf("a child is %+v, %v", f.VM, f.Err)
			}
			if slices.Contains(ahead, f.VM.ID) {
				used++
			}
			want = append(want, f.VM.ID)
		}
		if used != 2 {
			t.Errorf("%d of what was started ahead were used", used)
		}
		time.Sleep(time.Minute)
		if now, _ := h.hv.Runs(t.Context()); len(now) != len(want)+2 {
			t.Errorf("a while later there are %d processes", len(now))
		}
		// What a daemon that died leaves of them the next one removes.
		h.leave(t.Context())
		h.husks = 0
		h.open()
		synctest.Wait()
		h.clean(want...)
	})
}
