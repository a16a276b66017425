package http

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/mem"
)

// newNames returns what remembers the names of alice's and bob's.
func newNames(t *testing.T) *mem.Store {
	t.Helper()
	s := mem.NewStore()
	for _, id := range []coppice.AccountID{alice, bob} {
		if err := s.InsertAccount(t.Context(), coppice.Account{ID: id, CreatedAt: began}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Names lead to VMs, elsewhere, and nowhere; each account sees its own.
func TestDomains(t *testing.T) {
	h := newHarness(t)
	vm, other := string(h.vms.add(coppice.VM{})), string(h.vms.add(coppice.VM{}))
	bobs := "Authorization: Bearer bob-key"
	mapped := into[api.Mapping](t, h.do("POST", "/domains/v1/mappings/App.Example.com", `{"domain":"App.Example.com","vmId":"`+vm+`","vmPort":3000}`))
	if mapped.Domain != "app.example.com" || mapped.VMID != vm || mapped.VMPort != 3000 || mapped.OwnershipID != string(alice) || mapped.CreatedAt.IsZero() {
		t.Errorf("mapped: %+v", mapped)
	}
	if m := into[api.Mapping](t, h.do("POST", "/domains/v1/mappings/app.example.com", `{"vmId":"`+other+`"}`)); m.VMID != other || m.VMPort != 443 {
		t.Errorf("mapped elsewhere: %+v", m)
	}
	h.do("POST", "/domains/v1/mappings/web.vm.localhost", `{"vmId":"`+vm+`","vmPort":80}`)
	for query, want := range map[string]string{
		"": "app.example.com web.vm.localhost", "?limit=1": "app.example.com", "?limit=10&offset=1": "web.vm.localhost",
		"?domain=web.vm.localhost": "web.vm.localhost", "?domainOwnership=" + string(bob): "",
	} {
		var names []string
		for _, m := range into[[]api.Mapping](t, h.do("GET", "/domains/v1/mappings"+query, "")) {
			names = append(names, m.Domain)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("list%s: %s, want %s", query, got, want)
		}
	}
	if a := h.do("GET", "/domains/v1/mappings", "", bobs); a.status != 200 || strings.TrimSpace(a.body) != "[]" {
		t.Errorf("bob's: %d %s", a.status, a.body)
	}
	if a := h.do("DELETE", "/domains/v1/mappings/app.example.com", "", bobs); a.status != 404 {
		t.Errorf("bob unmapped alice's: %d %s", a.status, a.body)
	}
	for _, status := range []int{200, 404} {
		if a := h.do("DELETE", "/domains/v1/mappings/app.example.com", ""); a.status != status {
			t.Errorf("unmap: %d %s, want %d", a.status, a.body, status)
		}
	}
}

func TestDomainsRefused(t *testing.T) {
	h := newHarness(t)
	vm, gone := string(h.vms.add(coppice.VM{})), string(h.vms.add(coppice.VM{}))
	bobsVM := string(h.vms.add(coppice.VM{Account: bob}))
	h.do("DELETE", "/v1/vms/"+gone, "")
	h.do("POST", "/domains/v1/mappings/bobs.example.com", `{"vmId":"`+bobsVM+`"}`, "Authorization: Bearer bob-key")
	to := func(vm string) string { return `{"vmId":"` + vm + `"}` }
	for _, c := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"localhost", to(vm), 400, "INVALID_DOMAIN"},
		{"a_b.example.com", to(vm), 400, "INVALID_DOMAIN"},
		{"10.0.0.1", to(vm), 400, "INVALID_DOMAIN"},
		{"vm.localhost", to(vm), 403, "NO_DOMAIN_OWNERSHIP"},
		{"80-" + bobsVM + ".vm.localhost", to(vm), 403, "NO_DOMAIN_OWNERSHIP"},
		{"bobs.example.com", to(vm), 400, "DOMAIN_ALREADY_EXISTS"},
		{"a.example.com", to(bobsVM), 404, "VM_NOT_FOUND"},
		{"a.example.com", to(gone), 410, "VM_DELETED"},
		{"a.example.com", to("x"), 400, "INVALID_VM_ID"},
		{"a.example.com", `{}`, 400, "INVALID_REQUEST"},
		{"a.example.com", `{"vmId":"` + vm + `","vmPort":65536}`, 400, "INVALID_REQUEST"},
		{"a.example.com", `{"deploymentId":"d"}`, 501, "SERVICE_UNAVAILABLE"},
	} {
		if a := h.do("POST", "/domains/v1/mappings/"+c.name, c.body); a.status != c.status || a.code() != c.code {
			t.Errorf("%s %s: %d %s", c.name, c.body, a.status, a.body)
		}
	}
}

// A VM is made with its names, or not at all.
func TestCreateWithDomains(t *testing.T) {
	h := newHarness(t)
	created := into[api.Created](t, h.do("POST", "/v1/vms", `{"domains":[{"domain":"a.example.com","vmPort":80},{"domain":"b.example.com"}]}`))
	if len(created.Domains) != 2 || created.Domains[0] != "a.example.com" {
		t.Errorf("domains %q", created.Domains)
	}
	all := into[[]api.Mapping](t, h.do("GET", "/domains/v1/mappings", ""))
	if len(all) != 2 || all[0].VMID != created.ID || all[0].VMPort != 80 || all[1].VMPort != 443 {
		t.Errorf("mappings %+v", all)
	}
	before := len(h.vms.rows)
	a := h.do("POST", "/v1/vms", `{"domains":[{"domain":"a.example.com"}]}`, "Authorization: Bearer bob-key")
	if a.status != 400 || a.code() != "DOMAIN_ALREADY_EXISTS" || len(h.vms.rows) != before {
		t.Errorf("%d %s, and %d VMs more", a.status, a.body, len(h.vms.rows)-before)
	}
}

// leaver is a client that leaves while its name is being mapped.
type leaver struct {
	Domains
	leave context.CancelFunc
}

func (l leaver) Map(ctx context.Context, _ coppice.AccountID, _ string, _ coppice.VMID, _ uint16) (coppice.Mapping, error) {
	l.leave()
	return coppice.Mapping{}, ctx.Err()
}

// Nobody wants a VM that was made for somebody who left before it had its name.
func TestCreateWithDomainsForOneWhoLeaves(t *testing.T) {
	h := newHarness(t)
	vm := h.vms.add(coppice.VM{})
	ctx, leave := context.WithCancel(t.Context())
	h.server.config.Domains = leaver{leave: leave}
	_, err := h.server.mapDomains(ctx, caller{Account: alice}, vm, []api.Domain{{Domain: "a.example.com"}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("mapped: %v", err)
	}
	if vm, err := h.vms.VM(t.Context(), alice, vm); err == nil && !vm.Deleted() {
		t.Errorf("the VM is still there: %+v, %v", vm, err)
	}
}
