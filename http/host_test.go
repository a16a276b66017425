package http

import (
	"context"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice/api"
)

func TestHost(t *testing.T) {
	h := newHarness(t)
	a := h.do("GET", "/v1/host", "")
	for _, want := range []string{`"memoryMib":8192`, `"freeMemoryMib":4096`, `"runningVms":2`, `"vmm":"QEMU"`, `"version":"test"`} {
		if a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%d %s has no %s", a.status, a.body, want)
		}
	}
}

func TestDoctor(t *testing.T) {
	h := newHarness(t)
	if a := h.do("GET", "/v1/doctor", ""); a.status != 404 || a.code() != "NOT_FOUND" {
		t.Errorf("without a doctor: %d %s", a.status, a.body)
	}
	h.server.config.Doctor = func(context.Context) []api.Finding {
		return []api.Finding{{Name: "pool", Broken: true, Text: "not mounted", Fix: "make up"}}
	}
	const want = `{"findings":[{"name":"pool","broken":true,"text":"not mounted","fix":"make up"}]}`
	if a := h.do("GET", "/v1/doctor", ""); a.status != 200 || strings.TrimSpace(a.body) != want {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := h.do("GET", "/v1/doctor", "", others...); a.status != 403 {
		t.Errorf("for another account: %d %s", a.status, a.body)
	}
}
