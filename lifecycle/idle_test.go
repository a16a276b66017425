package lifecycle_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/mem"
)

// createIdle makes a VM that is reclaimed after so long; 0 is never.
func (h *host) createIdle(timeout time.Duration, p coppice.Persistence) coppice.VM {
	h.t.Helper()
	return h.must(h.Create(h.t.Context(), coppice.NewVM{Account: alice, IdleTimeout: &timeout, Persistence: p}))
}

// after lets time pass, and returns the VM as it is then.
func (h *host) after(d time.Duration, id coppice.VMID) coppice.VM {
	h.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	return h.must(h.VM(h.t.Context(), alice, id))
}

// want fails the test if the VM is not in that state after d.
func (h *host) want(d time.Duration, id coppice.VMID, state coppice.State) coppice.VM {
	h.t.Helper()
	vm := h.after(d, id)
	if vm.State != state {
		h.t.Fatalf("%v later the VM is %s (%s), want %s", d, vm.State, vm.Reason, state)
	}
	return vm
}

// idly runs a test in a bubble, where time costs nothing.
func idly(t *testing.T, test func(t *testing.T, h *host)) {
	synctest.Test(t, func(t *testing.T) { test(t, newHost(t)) })
}

// A VM is suspended when its timeout has passed, not before, and wakes for whoever
// comes, as it was.
func TestIdleVMIsSuspended(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		vm := h.create()
		h.hv.Poke(vm.ID, []byte("remembered"))
		if vm := h.want(5*time.Minute-time.Second, vm.ID, coppice.Running); vm.Activity.Idle != 5*time.Minute-time.Second {
			t.Errorf("idle for %v", vm.Activity.Idle)
		}
		if vm := h.want(time.Second, vm.ID, coppice.Suspended); vm.Reason != "it was idle for 5m" {
			t.Errorf("reason %q", vm.Reason)
		}
		if err := h.use(vm.ID); err != nil {
			t.Fatal(err)
		}
		if vm := h.want(0, vm.ID, coppice.Running); vm.Reason != "woken for exec" || string(h.hv.Peek(vm.ID)) != "remembered" {
			t.Errorf("woken: %+v", vm)
		}
		h.want(5*time.Minute, vm.ID, coppice.Suspended)
	})
}

// An ephemeral VM that is idle is deleted, whichever its delete event is.
func TestIdleEphemeralVMIsDeleted(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		for _, event := range []coppice.DeleteEvent{coppice.OnStop, coppice.OnSuspend} {
			vm := h.createIdle(time.Minute, coppice.Persistence{Type: coppice.Ephemeral, DeleteEvent: event})
			vm = h.want(time.Minute, vm.ID, coppice.Absent)
			if !vm.Deleted() || vm.Reason != "it was idle for 1m" {
				t.Errorf("%s: %+v", event, vm)
			}
			if err := h.use(vm.ID); code(err) != coppice.CodeVMDeleted {
				t.Errorf("%s: use of it: %v", event, err)
			}
		}
		h.clean()
	})
}

// A VM that is never to be reclaimed is not, until a start says otherwise.
func TestNeverIsNever(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		vm := h.createIdle(0, coppice.Persistence{})
		h.want(100*time.Hour, vm.ID, coppice.Running)
		// A value at start holds from then on, and so does never.
		minute, never := time.Minute, time.Duration(0)
		h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{IdleTimeout: &minute}))
		h.want(59*time.Second, vm.ID, coppice.Running)
		h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{IdleTimeout: &never}))
		h.want(100*time.Hour, vm.ID, coppice.Running)
		h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{IdleTimeout: &minute}))
		h.want(time.Minute, vm.ID, coppice.Suspended)
		h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
		h.want(time.Minute, vm.ID, coppice.Suspended)
	})
}

// A VM is awake as long as anybody is in it, and idle from when the last has left
// or the last byte moved.
func TestUseKeepsAwake(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		vm := h.create()
		_, release, err := h.Use(t.Context(), alice, vm.ID, "exec")
		if err != nil {
			t.Fatal(err)
		}
		_, other, err := h.Use(t.Context(), alice, vm.ID, "files")
		if err != nil {
			t.Fatal(err)
		}
		h.want(time.Hour, vm.ID, coppice.Running)
		other()
		h.want(time.Hour, vm.ID, coppice.Running)
		release()
		h.want(5*time.Minute-time.Second, vm.ID, coppice.Running)
		h.Touch(vm.ID)
		h.want(5*time.Minute-time.Second, vm.ID, coppice.Running)
		h.want(time.Second, vm.ID, coppice.Suspended)
	})
}

// Traffic keeps a VM awake from the threshold on, and housekeeping does not.
func TestTrafficKeepsAwake(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		bytes := int64(100)
		quiet, busy := h.create(), h.create()
		low := h.must(h.Create(t.Context(), coppice.NewVM{Account: alice, ActivityBytes: &bytes}))
		time.Sleep(5 * time.Second) // in the middle of an interval
		for range 60 {
			h.net.Pass(quiet.ID, coppice.Traffic{Sent: 1023})
			h.net.Pass(busy.ID, coppice.Traffic{Sent: 1024})
			h.net.Pass(low.ID, coppice.Traffic{Sent: 100})
			time.Sleep(10 * time.Second)
		}
		h.want(0, quiet.ID, coppice.Suspended)
		h.want(0, busy.ID, coppice.Running)
		h.want(0, low.ID, coppice.Running)
		h.want(5*time.Minute+10*time.Second, busy.ID, coppice.Suspended)

		// What came just before the end counts.
		short := h.createIdle(3*time.Second, coppice.Persistence{})
		time.Sleep(2 * time.Second)
		h.net.Pass(short.ID, coppice.Traffic{Sent: 1 << 20})
		h.want(2*time.Second, short.ID, coppice.Running)
		h.want(3*time.Second, short.ID, coppice.Suspended)
	})
}

// A daemon that leaves knows how long each VM has been idle, and the next one
// goes on from there, however long none was there and whatever the clock says.
func TestIdlenessSurvivesTheDaemon(t *testing.T) {
	for name, at := range map[string]time.Duration{"right": 0, "a year ahead": 8760 * time.Hour, "a year behind": -8760 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			idly(t, func(t *testing.T, h *host) {
				vm := h.create()
				time.Sleep(3 * time.Minute)
				h.Close(t.Context())
				h.must(h.store.UpdateVM(t.Context(), vm.ID, func(vm *coppice.VM) error {
					vm.Activity.At = vm.Activity.At.Add(at)
					return nil
				}))
				time.Sleep(time.Hour)
				h.open()
				h.want(2*time.Minute-time.Second, vm.ID, coppice.Running)
				h.want(time.Second, vm.ID, coppice.Suspended)
			})
		})
	}
}

// After a crash a VM is reclaimed late rather than early: by a quarter of its
// timeout at most.
func TestIdlenessSurvivesACrash(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		idle, used := h.create(), h.create()
		time.Sleep(3 * time.Minute)
		if err := h.use(used.ID); err != nil {
			t.Fatal(err)
		}
		h.leave(t.Context())
		h.open()
		h.want(2*time.Minute-time.Second, idle.ID, coppice.Running)
		h.want(76*time.Second, idle.ID, coppice.Suspended)
		h.want(5*time.Minute-195*time.Second-time.Second, used.ID, coppice.Running)
		h.want(time.Second+76*time.Second, used.ID, coppice.Suspended)
	})
}

// cramped is a pool that may be full, or have lost something.
type cramped struct {
	*mem.Pool
	h *host
}

func (p cramped) Traces(ctx context.Context) ([]coppice.Trace, error) {
	return p.h.without(ctx, p.Pool)
}

func (p cramped) BeginCapture(ctx context.Context, id coppice.CaptureID) (coppice.CaptureFiles, error) {
	if p.h.full.Load() {
		return coppice.CaptureFiles{}, coppice.ErrNoSpace
	}
	return p.Pool.BeginCapture(ctx, id)
}

func (p cramped) CommitCapture(ctx context.Context, id coppice.CaptureID) (coppice.CaptureFiles, error) {
	if commit := p.h.committing.Load(); commit != nil {
		if err := (*commit)(); err != nil {
			return coppice.CaptureFiles{}, err
		}
	}
	return p.Pool.CommitCapture(ctx, id)
}

// A reclaim that fails is tried again, and the VM runs on meanwhile.
func TestReclaimFails(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		vm := h.createIdle(time.Minute, coppice.Persistence{})
		h.full.Store(true)
		h.want(time.Minute, vm.ID, coppice.Running)
		h.full.Store(false)
		h.want(30*time.Second, vm.ID, coppice.Running)
		h.want(31*time.Second, vm.ID, coppice.Suspended)
	})
}

// countingStore counts changes of VMs' rows, and lets a test in before each.
type countingStore struct {
	*mem.Store
	h *host
}

func (s countingStore) UpdateVM(ctx context.Context, id coppice.VMID, change func(*coppice.VM) error, events ...coppice.Event) (coppice.VM, error) {
	n := s.h.wrote.Add(1)
	if writing := s.h.writing.Load(); writing != nil {
		(*writing)(n)
	}
	return s.Store.UpdateVM(ctx, id, change, events...)
}

// Who uses a VM again and again has nothing written down for it, and traffic is
// asked for once in an interval, however often there is cause to look.
func TestUseCostsNothing(t *testing.T) {
	idly(t, func(t *testing.T, h *host) {
		vm := h.create()
		time.Sleep(900 * time.Millisecond)
		if _, err := h.TakeSnapshot(t.Context(), alice, vm.ID, "", coppice.Persistence{}); err != nil { // which has the row written
			t.Fatal(err)
		}
		synctest.Wait()
		h.wrote.Store(0)
		for range 100 {
			if err := h.use(vm.ID); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := h.wrote.Load(); n != 0 {
			t.Errorf("100 uses had the row written %d times", n)
		}
		for _, unreadable := range []error{nil, errors.New("no such device")} {
			h.wires.unreadable.Store(&unreadable)
			h.wires.asked.Store(0)
			for range 100 {
				h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{})) // has idleness looked at
				time.Sleep(time.Second)
			}
			if n := h.wires.asked.Load(); n < 9 || n > 11 {
				t.Errorf("traffic was asked for %d times in 100 seconds, and there was %v", n, unreadable)
			}
		}
	})
}
