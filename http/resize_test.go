package http

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// What the contract's clients send to resize a VM, and what of it reaches lifecycle.
func TestResize(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	mib := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		body string
		want coppice.ResizeSpec
	}{
		{`{"memSizeGb":16,"rootfsSizeGb":80,"vcpuCount":8}`, coppice.ResizeSpec{VCPUs: new(8), MemoryMiB: mib(16384), DiskMiB: mib(81920)}},
		{`{"vcpuCount":null,"memSizeGb":0.5,"new":"member"}`, coppice.ResizeSpec{MemoryMiB: mib(512)}},
		{`{}`, coppice.ResizeSpec{}},
		{``, coppice.ResizeSpec{}},
		{`{"vcpuCount":0,"memSizeGb":0,"rootfsSizeGb":-1}`, coppice.ResizeSpec{VCPUs: new(0), MemoryMiB: mib(0), DiskMiB: mib(-1024)}},
		{`{"memSizeGb":1e300,"rootfsSizeGb":1e300}`, coppice.ResizeSpec{MemoryMiB: mib(1 << 40), DiskMiB: mib(1 << 40)}},
		{`{"memSizeGb":-1e300}`, coppice.ResizeSpec{MemoryMiB: mib(-1 << 40)}},
		// Part of a MiB makes no power of two, and as much disk as was asked for.
		{`{"memSizeGb":1.00001,"rootfsSizeGb":20.00001}`, coppice.ResizeSpec{MemoryMiB: mib(1025), DiskMiB: mib(20481)}},
		{`{"rootfsSizeGb":40,"discardMemory":true}`, coppice.ResizeSpec{DiskMiB: mib(40960), DiscardMemory: true}},
	} {
		a := h.do("POST", "/v1/vms/"+id+"/resize", c.body)
		if a.status != 200 || a.body != "{}\n" {
			t.Errorf("%s: %d %s", c.body, a.status, a.body)
		}
		if diff := cmp.Diff(c.want, h.vms.resized); diff != "" {
			t.Errorf("%s: -want +got\n%s", c.body, diff)
		}
	}
	for _, body := range []string{`{"vcpuCount":1.5}`, `{"memSizeGb":"2"}`, `{"rootfsSizeGb":[]}`, `{"discardMemory":"yes"}`} {
		if a := h.do("POST", "/v1/vms/"+id+"/resize", body); a.status != 400 || a.code() != "INVALID_REQUEST" {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
}
