package qemu_test

import (
	"syscall"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/conformance"
	"github.com/coppice-vm/coppice/qemu"
)

func TestHypervisor(t *testing.T) {
	h := newHost(t)
	var last *qemu.Hypervisor
	conformance.TestHypervisor(t, conformance.HypervisorHost{
		Open: func() coppice.Hypervisor {
			if last != nil {
				last.Close()
			}
			last = h.open()
			return last
		},
		Boot:       h.boot,
		NewCapture: h.newCapture,
		Restore:    h.restore,
		Crash: func(id coppice.VMID) {
			if err := syscall.Kill(h.pid(id), syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		},
	})
}
