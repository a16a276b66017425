package lifecycle_test

import (
	"testing"
	"testing/synctest"

	"github.com/coppice-vm/coppice"
)

// What each event does to an ephemeral VM, for both of its delete events.
func TestEphemeral(t *testing.T) {
	for _, test := range []struct {
		event     string
		do        func(h *host, id coppice.VMID) error
		onStop    coppice.State
		onSuspend coppice.State
	}{
		{"stop", func(h *host, id coppice.VMID) error { _, err := h.Stop(h.t.Context(), alice, id); return err }, coppice.Absent, coppice.Stopped},
		{"kill", func(h *host, id coppice.VMID) error { _, err := h.Kill(h.t.Context(), alice, id); return err }, coppice.Absent, coppice.Stopped},
		{"suspend", func(h *host, id coppice.VMID) error { _, err := h.Suspend(h.t.Context(), alice, id); return err }, coppice.Suspended, coppice.Absent},
		{"power-off", func(h *host, id coppice.VMID) error {
			h.hv.End(id, coppice.Exit{Kind: coppice.ExitPowerOff})
			return nil
		}, coppice.Absent, coppice.Stopped},
		{"reboot", func(h *host, id coppice.VMID) error {
			h.hv.End(id, coppice.Exit{Kind: coppice.ExitReboot})
			return nil
		}, coppice.Running, coppice.Running},
		{"panic", func(h *host, id coppice.VMID) error {
			h.hv.End(id, coppice.Exit{Kind: coppice.ExitPanic})
			return nil
		}, coppice.Failed, coppice.Failed},
		{"host reboot", func(h *host, id coppice.VMID) error {
			h.leave(h.t.Context())
			h.hv.Discard(h.t.Context(), id)
			h.boot = "boot-2"
			h.open()
			return nil
		}, coppice.Absent, coppice.Stopped},
	} {
		for event, want := range map[coppice.DeleteEvent]coppice.State{coppice.OnStop: test.onStop, coppice.OnSuspend: test.onSuspend} {
			t.Run(test.event+" "+string(event), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHost(t)
					vm := h.createIdle(0, coppice.Persistence{Type: coppice.Ephemeral, DeleteEvent: event})
					if err := test.do(h, vm.ID); err != nil {
						t.Fatal(err)
					}
					vm = h.want(0, vm.ID, want)
					if want != coppice.Absent {
						return
					}
					if !vm.Deleted() || vm.Reason == "" {
						t.Errorf("deleted: %+v", vm)
					}
					h.clean()
				})
			})
		}
	}
}

// An event that cannot happen to a VM deletes none.
func TestEphemeralRefuses(t *testing.T) {
	h := newHost(t)
	vm := h.createIdle(0, coppice.Persistence{Type: coppice.Ephemeral, DeleteEvent: coppice.OnSuspend})
	h.must(h.Stop(t.Context(), alice, vm.ID))
	if _, err := h.Suspend(t.Context(), alice, vm.ID); code(err) != coppice.CodeVMNotRunning {
		t.Errorf("suspend of a stopped VM: %v", err)
	}
	h.must(h.Stop(t.Context(), alice, vm.ID))
	child, err := h.Fork(t.Context(), alice, vm.ID, coppice.ForkSpec{Count: 1, LeaveStopped: true, Persistence: &coppice.Persistence{Type: coppice.Ephemeral, DeleteEvent: coppice.OnStop}})
	if err != nil || child[0].Err != nil {
		t.Fatal(err, child)
	}
	h.must(h.Stop(t.Context(), alice, child[0].VM.ID)) // it is stopped already: nothing to do
	h.await(child[0].VM.ID, coppice.Stopped)
}
