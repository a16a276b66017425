package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/coppice-vm/coppice"
)

// wants fails the test unless a VM is as it should be: by its row and by its files.
func (h *host) wants(vm coppice.VM, state coppice.State, size coppice.Size) {
	h.t.Helper()
	if vm.State != state || vm.Verb != coppice.Idle || vm.Size != size || vm.Target != (coppice.Size{}) || h.runs(vm.ID) != (state == coppice.Running) {
		h.t.Errorf("want %s with %+v, got %+v; process %v", state, size, vm, h.runs(vm.ID))
	}
	files := h.pool.VM(vm.ID)
	_, disk, diskErr := h.pool.ReadFile(files.Disk)
	_, memory, memoryErr := h.pool.ReadFile(files.Memory)
	if disk != size.DiskMiB<<20 || memory != size.MemoryMiB<<20 || diskErr != nil || memoryErr != nil {
		h.t.Errorf("the files have %d and %d MiB (%v, %v), want %+v", disk>>20, memory>>20, diskErr, memoryErr, size)
	}
}

// write gives a VM's disk content; onDisk returns it.
func (h *host) write(id coppice.VMID, content string) {
	h.t.Helper()
	if err := h.pool.WriteFile(h.pool.VM(id).Disk, []byte(content)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) onDisk(id coppice.VMID) string {
	content, _, _ := h.pool.ReadFile(h.pool.VM(id).Disk)
	return string(content)
}

var (
	small = coppice.Size{VCPUs: 1, MemoryMiB: 1024, DiskMiB: 1024} // what a new VM has
	large = coppice.Size{VCPUs: 8, MemoryMiB: 16 << 10, DiskMiB: 80 << 10}
)

// to asks for a whole size.
func to(size coppice.Size) coppice.ResizeSpec {
	return coppice.ResizeSpec{VCPUs: &size.VCPUs, MemoryMiB: &size.MemoryMiB, DiskMiB: &size.DiskMiB}
}

// A VM that runs boots with its new size and its disk; one that does not is
// resized where it lies. Less of all but the disk is a size too.
func TestResize(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.write(vm.ID, "kept")
	resized := h.must(h.Resize(t.Context(), alice, vm.ID, to(large)))
	h.wants(resized, coppice.Running, large)
	if resized.Instance == vm.Instance || resized.Base != "" || h.onDisk(vm.ID) != "kept" {
		t.Errorf("after a resize: %+v, disk %q", resized, h.onDisk(vm.ID))
	}
	same := h.must(h.Resize(t.Context(), alice, vm.ID, to(large)))
	if same.Instance != resized.Instance {
		t.Error("a resize to the size it has ended the run")
	}
	forks, err := h.Fork(t.Context(), alice, vm.ID, coppice.ForkSpec{Count: 1})
	if err != nil || forks[0].Err != nil || forks[0].VM.Size != large {
		t.Errorf("the fork of a resized VM: %+v, %v", forks, err)
	}
	h.must(h.Suspend(t.Context(), alice, vm.ID))
	h.wants(h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{})), coppice.Running, large)

	h.must(h.Stop(t.Context(), alice, vm.ID))
	less := coppice.Size{VCPUs: 2, MemoryMiB: 512, DiskMiB: large.DiskMiB}
	stopped := h.must(h.Resize(t.Context(), alice, vm.ID, coppice.ResizeSpec{VCPUs: &less.VCPUs, MemoryMiB: &less.MemoryMiB}))
	h.wants(stopped, coppice.Stopped, less)
	h.wants(h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{})), coppice.Running, less)
	if h.onDisk(vm.ID) != "kept" {
		t.Errorf("the disk holds %q", h.onDisk(vm.ID))
	}
	h.must(h.Delete(t.Context(), alice, forks[0].VM.ID))
	h.must(h.Delete(t.Context(), alice, vm.ID))
	h.clean()
}

// What a suspended VM has in memory is lost only if that is asked for.
func TestResizeOfASuspendedVM(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.write(vm.ID, "kept")
	suspended := h.must(h.Suspend(t.Context(), alice, vm.ID))
	if _, err := h.Resize(t.Context(), alice, vm.ID, to(large)); code(err) != coppice.CodeVMNotRunning {
		t.Errorf("resize of a suspended VM: %v", err)
	}
	if now := h.must(h.VM(t.Context(), alice, vm.ID)); now != suspended {
		t.Errorf("refused, and yet it is %+v", now)
	}
	spec := to(large)
	spec.DiscardMemory = true
	resized := h.must(h.Resize(t.Context(), alice, vm.ID, spec))
	h.wants(resized, coppice.Stopped, large)
	if resized.Base != "" || h.onDisk(vm.ID) != "kept" {
		t.Errorf("resized: %+v, disk %q", resized, h.onDisk(vm.ID))
	}
	h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
	h.must(h.Delete(t.Context(), alice, vm.ID))
	h.clean()
}

// A size that this VM cannot get is refused by the code of what is wrong with it first.
func TestResizeRefuses(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	size := func(vcpus int, memory, disk int64) coppice.ResizeSpec {
		return to(coppice.Size{VCPUs: vcpus, MemoryMiB: memory, DiskMiB: disk})
	}
	for _, test := range []struct {
		spec   coppice.ResizeSpec
		code   coppice.Code
		fields string
	}{
		{coppice.ResizeSpec{}, coppice.CodeResizeEmpty, "map[]"},
		{coppice.ResizeSpec{DiscardMemory: true}, coppice.CodeResizeEmpty, "map[]"},
		{size(0, 1024, 1024), coppice.CodeResizeVCPURange, "map[got:0 max:32]"},
		{size(64, 1024, 1024), coppice.CodeResizeVCPURange, "map[got:64 max:32]"},
		{size(3, 1024, 1024), coppice.CodeResizeVCPUPower, "map[got:3]"},
		{size(1, 256, 1024), coppice.CodeResizeMemRange, "map[got:256 max:65536 min:512]"},
		{size(1, 1<<40, 1024), coppice.CodeResizeMemRange, "map[got:1099511627776 max:65536 min:512]"},
		{size(1, 1000, 1024), coppice.CodeResizeMemPower, "map[got:1000]"},
		{size(1, 1024, 1023), coppice.CodeResizeShrinks, "map[currentMb:1024 requestedMb:1023]"},
		{size(1, 1024, 2<<20), coppice.CodeRootfsTooLarge, "map[gotGb:2048]"},
		// Of several the first counts: CPUs, memory, disk.
		{size(3, 1000, 1), coppice.CodeResizeVCPUPower, "map[got:3]"},
		{size(2, 1000, 1), coppice.CodeResizeMemPower, "map[got:1000]"},
	} {
		_, err := h.Resize(t.Context(), alice, vm.ID, test.spec)
		var e *coppice.Error
		if errors.As(err, &e); code(err) != test.code || fmt.Sprint(e.Fields) != test.fields {
			t.Errorf("%s: %v, want %s", test.fields, err, test.code)
		}
	}
	now := h.must(h.VM(t.Context(), alice, vm.ID))
	if now.Activity = vm.Activity; now != vm {
		t.Errorf("after refusals the VM is %+v", now)
	}
}

// A guest that does not come up with its new size comes up with its old one, and
// its disk is what it was before.
func TestResizeThatFails(t *testing.T) {
	for _, test := range []struct {
		name     string
		failures int
		want     coppice.State
	}{{"once", 1, coppice.Running}, {"for good", 2, coppice.Stopped}} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			vm := h.create()
			h.write(vm.ID, "kept")
			failures := test.failures
			h.guest.set(func() {
				h.guest.refuse = func(id coppice.GuestIdentity) error {
					if failures == 0 {
						return nil
					}
					failures--
					h.write(vm.ID, "ruined")
					return errors.New("out of memory")
				}
			})
			_, err := h.Resize(t.Context(), alice, vm.ID, to(large))
			if code(err) != coppice.CodeResizeFailed {
				t.Errorf("resize: %v", err)
			}
			after := h.must(h.VM(t.Context(), alice, vm.ID))
			h.wants(after, test.want, small)
			if after.Reason == "" || test.want == coppice.Running && h.onDisk(vm.ID) != "kept" {
				t.Errorf("after a failed resize: %+v, disk %q", after, h.onDisk(vm.ID))
			}
			h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
			h.wants(h.must(h.Resize(t.Context(), alice, vm.ID, to(large))), coppice.Running, large)
			h.must(h.Delete(t.Context(), alice, vm.ID))
			h.clean()
		})
	}
}

// Killed or deleted in the middle of a resize, a VM is as it was, or gone.
func TestResizeCutShort(t *testing.T) {
	for name, cut := range map[string]func(*host, coppice.VMID) (coppice.VM, error){
		"kill":   func(h *host, id coppice.VMID) (coppice.VM, error) { return h.Kill(h.t.Context(), alice, id) },
		"delete": func(h *host, id coppice.VMID) (coppice.VM, error) { return h.Delete(h.t.Context(), alice, id) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				vm := h.create()
				h.guest.set(func() { h.guest.mute = true })
				failed := make(chan error, 1)
				go func() {
					_, err := h.Resize(t.Context(), alice, vm.ID, to(large))
					failed <- err
				}()
				synctest.Wait() // it boots
				after := h.must(cut(h, vm.ID))
				if err := <-failed; code(err) != coppice.CodeConflict {
					t.Errorf("the resize: %v", err)
				}
				if name == "kill" {
					h.wants(after, coppice.Stopped, small)
					h.must(h.Delete(t.Context(), alice, vm.ID))
				}
				h.clean()
			})
		})
	}
}

// A daemon that dies in the middle of a resize leaves a VM that has its new size
// and runs, as soon as there is another daemon.
func TestDaemonDiesWhileResizing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		vm := h.create()
		h.write(vm.ID, "kept")
		h.guest.set(func() { h.guest.mute = true })
		go h.Resize(context.Background(), alice, vm.ID, to(large))
		synctest.Wait() // it boots
		h.leave(t.Context())
		if left, err := h.store.VM(t.Context(), vm.ID); err != nil || left.Verb != coppice.Resize || left.Target != large {
			t.Fatalf("left behind: %+v, %v", left, err)
		}
		h.guest.set(func() { h.guest.mute = false })
		h.open()
		synctest.Wait()
		h.wants(h.await(vm.ID, coppice.Running), coppice.Running, large)
		if h.onDisk(vm.ID) != "kept" {
			t.Errorf("the disk holds %q", h.onDisk(vm.ID))
		}
		h.must(h.Delete(t.Context(), alice, vm.ID))
		h.clean()
	})
}

// Who gives a VM the size that it is being given makes no run of its own.
func TestFiftyResizesMakeOneRun(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	var mu sync.Mutex
	instances := map[coppice.InstanceID]bool{}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			vm := h.must(h.Resize(t.Context(), alice, vm.ID, to(large)))
			mu.Lock()
			defer mu.Unlock()
			instances[vm.Instance] = true
		})
	}
	wg.Wait()
	if len(instances) != 1 {
		t.Errorf("instances %v", instances)
	}
}

// Resizes of one VM follow one another, and the last to be done is what it has.
func TestManyResizesAtOnce(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	sizes := []int64{2 << 10, 4 << 10, 8 << 10}
	var wg sync.WaitGroup
	for _, memory := range sizes {
		wg.Go(func() {
			if _, err := h.Resize(t.Context(), alice, vm.ID, coppice.ResizeSpec{MemoryMiB: &memory}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	after := h.must(h.VM(t.Context(), alice, vm.ID))
	h.wants(after, coppice.Running, after.Size)
	if !slices.Contains(sizes, after.Size.MemoryMiB) {
		t.Errorf("after three resizes: %+v", after)
	}
}
