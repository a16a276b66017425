package http

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

func TestAudit(t *testing.T) {
	h := newHarness(t)
	if a := h.do("GET", "/v1/audit", ""); a.status != 200 || !strings.Contains(a.body, `"discrepancies":[]`) {
		t.Errorf("nothing is wrong: %d %s", a.status, a.body)
	}
	vm := coppice.NewVMID()
	h.vms.audit = []coppice.Discrepancy{
		{Trace: coppice.Trace{Kind: coppice.TraceProcess, Name: "17", VM: vm}, Text: "text", Fix: "fix", Repairable: true},
		{Trace: coppice.Trace{Kind: coppice.TraceDisk, Capture: "sc-00000000000000000001"}, Missing: true, Text: "gone", Fix: "none", Err: errors.New("no way")},
	}
	want := api.Audit{Discrepancies: []api.Discrepancy{
		{Kind: "process", Name: "17", VMID: string(vm), Text: "text", Fix: "fix", Repairable: true},
		{Missing: true, Kind: "disk", SnapshotID: "sc-00000000000000000001", Text: "gone", Fix: "none", Error: "no way"},
	}}
	got, err := h.client().Audit(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v; -want +got\n%s", err, diff)
	}
	want.Discrepancies[0].Repaired = true
	got, err = h.client().Repair(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v; -want +got\n%s", err, diff)
	}
	for path, method := range map[string]string{"/v1/audit": "GET", "/v1/audit/repair": "POST"} {
		if a := h.do(method, path, "", "Authorization: Bearer bob-key"); a.status != 403 || a.code() != "FORBIDDEN" {
			t.Errorf("%s by one who is no admin: %d %s", path, a.status, a.body)
		}
	}
}
