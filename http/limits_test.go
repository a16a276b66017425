package http

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

func TestLimits(t *testing.T) {
	h := newHarness(t)
	h.vms.limits = coppice.Limits{
		VMs: 1, Running: 0, Each: coppice.Size{VCPUs: 3, MemoryMiB: 4, DiskMiB: 5},
		Sum: coppice.Size{VCPUs: 6, MemoryMiB: 7, DiskMiB: coppice.NoLimit}, Snapshots: 9, PTYs: coppice.NoLimit,
	}
	h.vms.usage = coppice.Usage{VMs: 11, Running: 12, Sum: coppice.Size{VCPUs: 13, MemoryMiB: 14, DiskMiB: 15}, Snapshots: 16}
	n := func(n int64) *int64 { return &n }
	want := api.Limits{
		Limits: api.AccountLimits{
			VMs: n(1), RunningVMs: n(0), VCPUCountPerVM: n(3), MemSizeMiBPerVM: n(4), RootfsSizePerVM: n(5),
			VCPUCount: n(6), MemSizeMiB: n(7), Snapshots: n(9),
		},
		Usage: api.AccountUsage{VMs: 11, RunningVMs: 12, VCPUCount: 13, MemSizeMiB: 14, RootfsSizeMB: 15, Snapshots: 16},
	}
	got, err := h.client().Limits(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v: -want +got\n%s", err, diff)
	}
}
