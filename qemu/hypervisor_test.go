package qemu_test

import (
	"crypto/sha256"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/conformance"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
	"github.com/coppice-vm/coppice/qemu"
)

func TestHypervisor(t *testing.T) {
	h := newHost(t)
	var last *qemu.Hypervisor
	var seed string // the base of the first guest that is restored
	var before [sha256.Size]byte
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
		Restore: func(m coppice.Machine, c coppice.CaptureFiles) coppice.Machine {
			if seed == "" {
				seed, before = c.Memory, sum(t, c.Memory)
			}
			return h.restore(m, c)
		},
		Refill: h.refill,
		Starve: func(coppice.Machine) func() { return reflinktest.Fill(t, h.dir) },
		Crash: func(id coppice.VMID) {
			if err := syscall.Kill(h.pid(id), syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		},
	})
	if sum(t, seed) != before {
		t.Error("the memory that all guests were copies of was written")
	}
}

func sum(t *testing.T, name string) (sum [sha256.Size]byte) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(hash.Sum(nil))
}
