package lifecycle_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/coppice-vm/coppice"
)

func (h *host) stats(id coppice.VMID) coppice.Stats {
	h.t.Helper()
	stats, err := h.Stats(h.t.Context(), alice, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return stats
}

// What of a VM is measured, while it runs and while it does not; what is stored
// is looked at now and then only.
func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		vm := h.create()
		h.hv.Poke(vm.ID, []byte("memory"))
		h.net.Pass(vm.ID, coppice.Traffic{Sent: 3, Received: 4})
		time.Sleep(time.Second)
		write := func(content string) {
			t.Helper()
			if err := h.pool.WriteFile(h.pool.VM(vm.ID).Disk, []byte(content)); err != nil {
				t.Fatal(err)
			}
		}
		write("disk")
		s := h.stats(vm.ID)
		if s.VM.ID != vm.ID || !s.At.Equal(time.Now()) || s.Work.CPU < time.Second || s.Memory.Own != int64(len("memory")) ||
			s.Traffic != (coppice.Traffic{Sent: 3, Received: 4}) || s.Disk.Own != int64(len("disk")) {
			t.Errorf("a VM that runs: %+v", s)
		}
		write("a larger disk")
		time.Sleep(9 * time.Second)
		if s := h.stats(vm.ID); s.Disk.Own != int64(len("disk")) {
			t.Errorf("after 9 s: %+v", s)
		}
		time.Sleep(time.Second)
		if s := h.stats(vm.ID); s.Disk.Own != int64(len("a larger disk")) {
			t.Errorf("after 10 s: %+v", s)
		}
		// What has come since is not taken for nothing.
		if s := h.stats(h.fork(vm.ID, coppice.ForkSpec{Count: 1})[0].ID); s.Disk.Own == 0 {
			t.Errorf("a child: %+v", s)
		}

		h.must(h.Stop(t.Context(), alice, vm.ID))
		s = h.stats(vm.ID)
		if s.VM.State != coppice.Stopped || s.Work != (coppice.Work{}) || s.Memory != (coppice.Footprint{}) || s.Traffic != (coppice.Traffic{}) || s.Disk.Own == 0 {
			t.Errorf("a VM that does not run: %+v", s)
		}
		if _, err := h.Stats(t.Context(), bob, vm.ID); code(err) != coppice.CodeVMNotFound {
			t.Errorf("another's: %v", err)
		}
		h.must(h.Delete(t.Context(), alice, vm.ID))
		if _, err := h.Stats(t.Context(), alice, vm.ID); code(err) != coppice.CodeVMDeleted {
			t.Errorf("one that is deleted: %v", err)
		}
	})
}
