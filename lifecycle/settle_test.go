package lifecycle_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coppice-vm/coppice"
)

// A daemon dies at every point of every verb that leaves a row behind, with and
// without the process there. The next one gets the VM to where it should be, and
// every VM can be used and deleted afterwards.
func TestSettleAfterADaemonDied(t *testing.T) {
	for _, test := range []struct {
		name    string
		state   coppice.State // before the crash
		verb    coppice.Verb  // in flight at it
		process bool          // there is one
		reboot  bool          // of the host
		want    coppice.State
	}{
		{"running goes on", coppice.Running, coppice.Idle, true, false, coppice.Running},
		{"running lost", coppice.Running, coppice.Idle, false, false, coppice.Failed},
		{"running, host rebooted", coppice.Running, coppice.Idle, false, true, coppice.Stopped},
		{"stopped stays", coppice.Stopped, coppice.Idle, false, false, coppice.Stopped},
		{"stopped with a process", coppice.Stopped, coppice.Idle, true, false, coppice.Stopped},
		{"suspended stays", coppice.Suspended, coppice.Idle, false, false, coppice.Suspended},
		{"suspended with a process", coppice.Suspended, coppice.Idle, true, false, coppice.Suspended},
		{"failed stays", coppice.Failed, coppice.Idle, false, false, coppice.Failed},
		{"create", coppice.Absent, coppice.Restore, true, false, coppice.Absent},
		{"create, before the process", coppice.Absent, coppice.Restore, false, false, coppice.Absent},
		{"start", coppice.Stopped, coppice.Start, true, false, coppice.Running},
		{"start, before the process", coppice.Stopped, coppice.Start, false, false, coppice.Running},
		{"start, host rebooted", coppice.Stopped, coppice.Start, false, true, coppice.Running},
		{"resume", coppice.Suspended, coppice.Resume, true, false, coppice.Running},
		{"resume, before the process", coppice.Suspended, coppice.Resume, false, false, coppice.Running},
		{"suspend", coppice.Running, coppice.Suspend, true, false, coppice.Running},
		{"suspend, process lost", coppice.Running, coppice.Suspend, false, false, coppice.Failed},
		{"capture", coppice.Running, coppice.Cut, true, false, coppice.Running},
		{"stop", coppice.Running, coppice.Stop, true, false, coppice.Stopped},
		{"stop, process gone", coppice.Running, coppice.Stop, false, false, coppice.Stopped},
		{"stop of a suspended VM", coppice.Suspended, coppice.Stop, false, false, coppice.Stopped},
		{"kill", coppice.Running, coppice.Kill, true, false, coppice.Stopped},
		{"kill, process gone", coppice.Running, coppice.Kill, false, false, coppice.Stopped},
		{"kill of a lost VM", coppice.Failed, coppice.Kill, false, false, coppice.Stopped},
		{"reboot", coppice.Running, coppice.Reboot, true, false, coppice.Running},
		{"reboot, between two runs", coppice.Running, coppice.Reboot, false, false, coppice.Running},
		{"resize", coppice.Running, coppice.Resize, true, false, coppice.Running},
		{"resize, between two runs", coppice.Running, coppice.Resize, false, false, coppice.Running},
		{"resize, host rebooted", coppice.Running, coppice.Resize, false, true, coppice.Running},
		{"resize of a stopped VM", coppice.Stopped, coppice.Resize, false, false, coppice.Stopped},
		{"resize of a suspended VM", coppice.Suspended, coppice.Resize, false, false, coppice.Stopped},
		{"delete", coppice.Running, coppice.Delete, true, false, coppice.Absent},
		{"delete, process gone", coppice.Stopped, coppice.Delete, false, false, coppice.Absent},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				vm := h.create()
				if test.state == coppice.Suspended {
					h.must(h.Suspend(t.Context(), alice, vm.ID))
				}
				h.leave(t.Context())

				h.must(h.store.UpdateVM(t.Context(), vm.ID, func(vm *coppice.VM) error {
					vm.State, vm.Verb = test.state, test.verb
					if test.verb == coppice.Resize {
						vm.Target = large
					}
					return nil
				}))
				if test.process && !h.runs(vm.ID) {
					files := h.pool.VM(vm.ID)
					image := &coppice.Image{}
					if _, err := h.hv.Start(t.Context(), coppice.Machine{VM: vm.ID, Disk: files.Disk, Memory: files.Memory, Boot: image}); err != nil {
						t.Fatal(err)
					}
				}
				if !test.process {
					h.hv.Discard(t.Context(), vm.ID)
				}
				if test.reboot {
					h.boot = "boot-2"
				}
				h.open()
				synctest.Wait()

				after, err := h.VM(t.Context(), alice, vm.ID)
				if err != nil || after.State != test.want || after.Verb != coppice.Idle {
					t.Fatalf("settled as %+v, %v", after, err)
				}
				if h.runs(vm.ID) != (test.want == coppice.Running) {
					t.Errorf("a process is there: %v", h.runs(vm.ID))
				}
				if test.verb == coppice.Resize {
					h.wants(after, test.want, large)
				}
				if changed := test.state == coppice.Running && test.verb != coppice.Stop && test.verb != coppice.Kill; changed && test.want != coppice.Running && test.want != coppice.Absent && after.Reason == "" {
					t.Error("it does not say why")
				}
				if test.want != coppice.Absent {
					started := h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
					if err := h.use(started.ID); err != nil {
						t.Errorf("session: %v", err)
					}
				}
				h.must(h.Delete(t.Context(), alice, vm.ID))
				h.clean()
			})
		})
	}
}

// After the host's reboot VMs that ran boot again, if that is the host's policy:
// some at a time, in whatever they had been doing but for what was to end them.
func TestStartAgainAfterReboot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.again = true
		var ran []coppice.VMID
		for _, verb := range []coppice.Verb{coppice.Idle, coppice.Suspend, coppice.Cut, coppice.Idle, coppice.Idle, coppice.Idle, coppice.Idle} {
			ran = append(ran, h.create().ID)
			h.must(h.store.UpdateVM(t.Context(), ran[len(ran)-1], func(vm *coppice.VM) error { vm.Verb = verb; return nil }))
		}
		stopping, suspended, ephemeral := h.create().ID, h.create().ID, h.create().ID
		h.must(h.Suspend(t.Context(), alice, suspended))
		h.leave(t.Context())
		h.must(h.store.UpdateVM(t.Context(), stopping, func(vm *coppice.VM) error { vm.Verb = coppice.Stop; return nil }))
		h.must(h.store.UpdateVM(t.Context(), ephemeral, func(vm *coppice.VM) error {
			vm.Persistence = coppice.Persistence{Type: coppice.Ephemeral, DeleteEvent: coppice.OnStop}
			return nil
		}))
		h.powerCycle()

		// This daemon dies while they boot; the next goes on.
		h.guest.set(func() { h.guest.mute = true })
		h.open()
		synctest.Wait()
		if runs, _ := h.hv.Runs(t.Context()); len(runs) != 4 {
			t.Errorf("%d boot at a time", len(runs))
		}
		h.leave(t.Context())
		h.guest.set(func() { h.guest.mute = false })
		h.open()
		synctest.Wait()
		if runs, _ := h.hv.Runs(t.Context()); len(runs) != len(ran) {
			t.Errorf("%d run in the end, of %d that ran", len(runs), len(ran))
		}
		for _, id := range ran {
			if vm := h.await(id, coppice.Running); vm.Base != "" || vm.HostBoot != h.boot {
				t.Errorf("%+v", vm)
			}
			if err := h.use(id); err != nil {
				t.Error(err)
			}
		}
		h.await(stopping, coppice.Stopped)
		h.await(suspended, coppice.Suspended)
		h.await(ephemeral, coppice.Absent)
		if found, err := h.Audit(t.Context(), false); err != nil || found != nil {
			t.Errorf("%+v, %v", found, err)
		}
		h.must(h.Start(t.Context(), alice, suspended, coppice.StartOptions{}))
		if story := h.story(ran[0]); !strings.Contains(story[len(story)-1], "the host was rebooted") {
			t.Errorf("its history ends with %q", story[len(story)-1])
		}
	})
}

// Who comes to a guest whose agent says nothing to a new daemon is told so in the
// end, and again; when it speaks, it is as if nothing had been.
func TestMuteGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		vm := h.create()
		h.leave(t.Context())
		h.guest.set(func() { h.guest.mute = true })
		h.open()
		for range 2 {
			began := time.Now()
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					if err := h.use(vm.ID); code(err) != coppice.CodeUnavailable {
						t.Errorf("used: %v", err)
					}
				})
			}
			all.Wait()
			if took := time.Since(began); took != 30*time.Second {
				t.Errorf("told after %v", took)
			}
		}
		h.want(0, vm.ID, coppice.Running)
		h.guest.set(func() { h.guest.mute = false })
		if err := h.use(vm.ID); err != nil {
			t.Error(err)
		}
	})
}

// A VM that waits to be started again can be deleted, and one for which there is
// no memory is stopped and says why.
func TestStartAgainGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.again = true
		var ran []coppice.VMID
		for range 5 {
			ran = append(ran, h.create().ID)
		}
		h.leave(t.Context())
		h.powerCycle()
		h.guest.set(func() { h.guest.mute = true })
		h.open()
		synctest.Wait()
		for _, id := range ran {
			h.must(h.Delete(t.Context(), alice, id))
		}
		h.guest.set(func() { h.guest.mute = false })
		h.clean()

		id := h.create().ID
		h.leave(t.Context())
		h.powerCycle()
		h.memory(0)
		h.open()
		if vm := h.await(id, coppice.Stopped); !strings.Contains(vm.Reason, "memory") {
			t.Errorf("its reason is %q", vm.Reason)
		}
	})
}

// powerCycle ends everything that runs on the host, which then boots anew.
func (h *host) powerCycle() {
	h.t.Helper()
	runs, err := h.hv.Runs(h.t.Context())
	for _, id := range runs {
		err = errors.Join(err, h.hv.Discard(h.t.Context(), id), h.net.TearDown(h.t.Context(), id))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.boot += "+"
}

// What a VM that runs through a restart of the daemon remembers, it remembers after.
func TestMemorySurvivesTheDaemon(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.hv.Poke(vm.ID, []byte("still here"))
	h.leave(t.Context())
	h.open()
	if err := h.use(vm.ID); err != nil {
		t.Fatal(err)
	}
	if after := h.await(vm.ID, coppice.Running); after.Instance != vm.Instance || string(h.hv.Peek(vm.ID)) != "still here" {
		t.Errorf("after: %+v, %q", after, h.hv.Peek(vm.ID))
	}
	for _, id := range h.guest.fresh[1:] { // the first is the template's
		if id.Instance != vm.Instance {
			t.Errorf("the guest was told of %+v", id)
		}
	}
}

// What a guest did while no daemon watched is seen by the next.
func TestPowerOffWhileNobodyWatched(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.leave(t.Context())
	h.hv.End(vm.ID, coppice.Exit{Kind: coppice.ExitPowerOff})
	h.open()
	if after := h.await(vm.ID, coppice.Stopped); after.Reason == "" {
		t.Error("it does not say why")
	}
}

// Closing waits for what is in flight, within reason, and leaves the VMs running.
func TestClose(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.Close(t.Context())
	if !h.runs(vm.ID) {
		t.Error("the VM went with the daemon")
	}
	if _, err := h.Stop(t.Context(), alice, vm.ID); code(err) != coppice.CodeUnavailable {
		t.Errorf("stop after close: %v", err)
	}
}

// Files and processes that no row accounts for are removed; a capture that a
// crash left without a purpose too.
func TestSweep(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.leave(t.Context())
	stray := coppice.NewVMID()
	files, err := h.pool.CreateVM(t.Context(), stray, "images/image/disk.raw", coppice.Size{VCPUs: 1, MemoryMiB: 512, DiskMiB: 1024})
	_, startErr := h.hv.Start(t.Context(), coppice.Machine{VM: stray, Disk: files.Disk, Memory: files.Memory, Boot: &coppice.Image{}})
	c := coppice.Capture{ID: coppice.NewCaptureID(), Account: alice, Image: "image", Size: vm.Size, CreatedAt: time.Now()}
	_, beginErr := h.pool.BeginCapture(t.Context(), c.ID)
	_, commitErr := h.pool.CommitCapture(t.Context(), c.ID)
	if err := errors.Join(err, startErr, beginErr, commitErr, h.store.InsertCapture(t.Context(), c)); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.awaitClean(vm.ID)
	if _, err := h.store.Capture(t.Context(), c.ID); !errors.Is(err, coppice.ErrNoCapture) {
		t.Errorf("the capture that nothing needs: %v", err)
	}
	if h.runs(stray) || !h.runs(vm.ID) {
		t.Error("the wrong process was ended")
	}
}

// awaitClean waits until the pool holds the files of the VM and of no other.
func (h *host) awaitClean(id coppice.VMID) {
	h.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		files, _ := h.pool.VMs(h.t.Context())
		captures, _ := h.pool.Captures(h.t.Context())
		if len(files) == 1 && files[0] == id && len(captures) == 1 {
			return
		}
	}
	h.t.Fatal("the pool was not swept")
}

// names has the names of parts that have begun.
type names struct {
	mu  sync.Mutex
	all []string
}

func (n *names) Begin(ctx context.Context, part coppice.Part) (context.Context, func(time.Time, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, part.Name)
	return ctx, func(time.Time, error) {}
}

// What a verb that was cut short left is settled, and not traced as that verb.
func TestSettledTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		vm := h.create()
		h.leave(t.Context())
		h.must(h.store.UpdateVM(t.Context(), vm.ID, func(vm *coppice.VM) error {
			vm.Verb, vm.VerbSince = coppice.Suspend, time.Now()
			return nil
		}))
		var traced names
		h.tracer = &traced
		h.open()
		synctest.Wait()
		if want := []string{"vm.settle"}; !slices.Equal(traced.all, want) {
			t.Errorf("traced are %q, want %q", traced.all, want)
		}
	})
}
