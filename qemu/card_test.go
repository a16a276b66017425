package qemu_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/coppice-vm/coppice"
)

// A machine that was captured before machines had network cards goes on without
// one, also where a process with a card was started ahead for it.
func TestCapturedWithoutCard(t *testing.T) {
	h := newHost(t)
	cardless := h.config()
	cardless.RunDir, cardless.Tap = filepath.Join(h.dir, "before"), nil
	booted, seed := h.seed(h.openAs(cardless))

	now := h.open()
	continues := func(m coppice.Machine) coppice.Run {
		t.Helper()
		r := start(t, now, m)
		if got := ask(t, r, "kept", ""); got != "seed" {
			t.Errorf("memory holds %q", got)
		}
		if h.hasCard(m.VM) {
			t.Errorf("the machine has got a network card")
		}
		return r
	}
	child := h.restore(booted, seed)
	r := continues(child)
	again := h.newCapture()
	if _, err := r.Capture(t.Context(), again, coppice.LeaveRunning); err != nil {
		t.Fatal(err)
	}
	continues(h.restore(child, again))

	ahead := h.boot()
	if err := now.Prepare(t.Context(), ahead); err != nil {
		t.Fatal(err)
	}
	if !h.hasCard(ahead.VM) {
		t.Errorf("what is started ahead has no network card")
	}
	h.refill(ahead.Disk, seed)
	ahead.Boot, ahead.Memory, ahead.State = nil, seed.Memory, seed.State
	continues(ahead)
}

// hasCard reports whether the VM's process has a network card.
func (h *host) hasCard(id coppice.VMID) bool {
	h.t.Helper()
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", h.pid(id)))
	if err != nil {
		h.t.Fatal(err)
	}
	return bytes.Contains(command, []byte("virtio-net-device"))
}
