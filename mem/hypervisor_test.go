package mem_test

import (
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/conformance"
	"github.com/coppice-vm/coppice/mem"
)

func TestHypervisor(t *testing.T) {
	image := coppice.Image{ID: "image", Disk: "images/image/disk.raw", DiskMiB: 1}
	pool := mem.NewPool(image)
	size := coppice.Size{VCPUs: 1, MemoryMiB: 1, DiskMiB: 1}
	newVM := func(disk string) coppice.Machine {
		id := coppice.NewVMID()
		files, err := pool.CreateVM(t.Context(), id, disk, size)
		if err != nil {
			t.Fatal(err)
		}
		return coppice.Machine{VM: id, Instance: coppice.NewInstanceID(), Size: size, Disk: files.Disk, Memory: files.Memory}
	}
	h := mem.NewHypervisor(pool)
	conformance.TestHypervisor(t, conformance.HypervisorHost{
		Open: func() coppice.Hypervisor { h = h.Reopen(); return h },
		Boot: func() coppice.Machine {
			m := newVM(image.Disk)
			m.Boot = &image
			return m
		},
		Starve: func(m coppice.Machine) func() {
			h.Starve(m.VM, "it waits for space")
			return func() { h.Starve(m.VM, "") }
		},
		NewCapture: func() coppice.CaptureFiles {
			files, err := pool.BeginCapture(t.Context(), coppice.NewCaptureID())
			if err != nil {
				t.Fatal(err)
			}
			return files
		},
		Restore: func(m coppice.Machine, c coppice.CaptureFiles) coppice.Machine {
			child := newVM(c.Disk)
			child.Memory, child.State = c.Memory, c.State
			return child
		},
		Refill: func(disk string, c coppice.CaptureFiles) {
			content, _, err := pool.ReadFile(c.Disk)
			if err == nil {
				err = pool.WriteFile(disk, content)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		Crash: func(id coppice.VMID) {
			h.End(id, coppice.Exit{Kind: coppice.ExitCrash, Detail: "the process was killed"})
		},
	})
}
