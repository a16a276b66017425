package http

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

const identitiesPath = "/identity/v1/identities"

// The calls of the contract's client, in the shapes it sends and expects.
func TestIdentities(t *testing.T) {
	h := newHarness(t)
	one := into[api.Identity](t, h.do("POST", identitiesPath, ""))
	two := into[api.Identity](t, h.do("POST", identitiesPath, "{}"))
	for query, want := range map[string]string{
		"?offset=0":         fmt.Sprintf(`{"identities":[{"id":"%s","managed":false},{"id":"%s","managed":false}],"offset":0,"total":2}`, one.ID, two.ID),
		"?limit=1&offset=1": fmt.Sprintf(`{"identities":[{"id":"%s","managed":false}],"offset":1,"total":2}`, two.ID),
		"?limit=1&offset=9": `{"identities":[],"offset":9,"total":2}`,
	} {
		if a := h.do("GET", identitiesPath+query, ""); strings.TrimSpace(a.body) != want {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	path := identitiesPath + "/" + one.ID
	token := into[api.CreatedToken](t, h.do("POST", path+"/tokens", ""))
	a := h.do("GET", path+"/tokens", "")
	if want := `{"tokens":[{"id":"` + token.ID + `"}]}`; strings.TrimSpace(a.body) != want || !strings.HasPrefix(token.Secret, "cpt_") {
		t.Errorf("%+v %s", token, a.body)
	}
	bearer := []string{"Authorization:", api.HeaderAccessToken + ": " + token.Secret}
	if who := into[api.WhoAmI](t, h.do("GET", "/auth/v1/whoami", "", bearer...)); who != (api.WhoAmI{AccountID: string(alice), IdentityID: one.ID}) {
		t.Errorf("%+v", who)
	}

	for _, c := range []struct {
		method, path, secret string
		status               int
		code                 string
	}{
		{"GET", path + "/tokens", "bob-key", 404, "IDENTITY_NOT_FOUND"},
		{"POST", path + "/tokens", "bob-key", 404, "IDENTITY_NOT_FOUND"},
		{"DELETE", path + "/tokens/" + token.ID, "bob-key", 404, "IDENTITY_NOT_FOUND"},
		{"DELETE", path, "bob-key", 404, "IDENTITY_NOT_FOUND"},
		{"DELETE", path + "/tokens/" + token.Secret, "alice-key", 404, "NOT_FOUND"},
		{"DELETE", identitiesPath + "/" + two.ID + "/tokens/" + token.ID, "alice-key", 404, "NOT_FOUND"},
		{"DELETE", path + "/tokens/" + token.ID, "alice-key", 200, ""},
		{"DELETE", path + "/tokens/" + token.ID, "alice-key", 404, "NOT_FOUND"},
		{"DELETE", path, "alice-key", 200, ""},
		{"DELETE", path, "alice-key", 404, "IDENTITY_NOT_FOUND"},
		{"GET", path + "/permissions/git", "alice-key", 501, "SERVICE_UNAVAILABLE"},
	} {
		a := h.do(c.method, c.path, "", "Authorization: Bearer "+c.secret)
		if a.status != c.status || a.code() != c.code {
			t.Errorf("%s %s by %s: %d %s", c.method, c.path, c.secret, a.status, a.body)
		}
		if c.status == 200 && strings.TrimSpace(a.body) != "{}" {
			t.Errorf("%s %s: %s", c.method, c.path, a.body)
		}
	}
	if a := h.do("GET", "/auth/v1/whoami", "", bearer...); a.status != 401 || a.code() != "UNAUTHORIZED_ERROR" {
		t.Errorf("with a revoked token: %d %s", a.status, a.body)
	}
}

func TestGrants(t *testing.T) {
	h := newHarness(t)
	h.people.identity(alice, "one")
	id, gone := string(h.vms.add(coppice.VM{})), string(h.vms.add(coppice.VM{DeletedAt: began}))
	foreign, never := string(h.vms.add(coppice.VM{Account: bob})), string(coppice.NewVMID())
	grants := identitiesPath + "/one/permissions/vm"
	for _, c := range []struct {
		method, path, body, secret string
		status                     int
		code                       string
		users                      string // of a record
	}{
		{"GET", grants + "/" + id, "", "alice-key", 404, "VM_PERMISSION_NOT_FOUND", ""},
		{"PUT", grants + "/" + id, "{}", "alice-key", 404, "VM_PERMISSION_NOT_FOUND", ""},
		{"DELETE", grants + "/" + id, "", "alice-key", 404, "VM_PERMISSION_NOT_FOUND", ""},
		{"POST", grants + "/nonsense", "{}", "alice-key", 400, "INVALID_VM_ID", ""},
		{"POST", grants + "/" + foreign, "{}", "alice-key", 404, "VM_NOT_FOUND", ""},
		{"POST", grants + "/" + never, "{}", "alice-key", 404, "VM_NOT_FOUND", ""},
		{"POST", grants + "/" + gone, "{}", "alice-key", 410, "VM_DELETED", ""},
		{"POST", grants + "/" + foreign, "{}", "bob-key", 404, "IDENTITY_NOT_FOUND", ""},
		{"POST", grants + "/" + id, `{"allowedUsers":[]}`, "alice-key", 400, "INVALID_REQUEST", ""},
		{"POST", grants + "/" + id, `{"allowedUsers":[""]}`, "alice-key", 400, "INVALID_REQUEST", ""},
		{"POST", grants + "/" + id, `{"allowedUsers":"bob"}`, "alice-key", 400, "INVALID_REQUEST", ""},
		{"POST", grants + "/" + id, `{"allowedUsers":["bob","carol"],"unknown":1}`, "alice-key", 200, "", `["bob","carol"]`},
		{"POST", grants + "/" + id, `{}`, "alice-key", 409, "PERMISSION_ALREADY_EXISTS", ""},
		{"GET", grants + "/" + id, "", "alice-key", 200, "", `["bob","carol"]`},
		{"GET", grants + "/" + id, "", "bob-key", 404, "IDENTITY_NOT_FOUND", ""},
		{"PUT", grants + "/" + id, `{"allowedUsers":null}`, "alice-key", 200, "", ""},
		{"PUT", grants + "/" + id, ``, "alice-key", 200, "", ""},
		{"PUT", grants + "/" + id, `{"allowedUsers":["dave"]}`, "alice-key", 200, "", `["dave"]`},
		{"GET", grants + "?limit=5&offset=0", "", "alice-key", 200, "", ""},
		{"DELETE", grants + "/" + id, "", "alice-key", 200, "", ""},
		{"DELETE", grants + "/" + id, "", "alice-key", 404, "VM_PERMISSION_NOT_FOUND", ""},
		{"POST", grants + "/" + id, ``, "alice-key", 200, "", ""},
	} {
		a := h.do(c.method, c.path, c.body, "Authorization: Bearer "+c.secret)
		var record struct{ AllowedUsers json.RawMessage }
		_ = json.Unmarshal([]byte(a.body), &record)
		if a.status != c.status || a.code() != c.code || string(record.AllowedUsers) != c.users {
			t.Errorf("%s %s %s by %s: %d %s", c.method, c.path, c.body, c.secret, a.status, a.body)
		}
	}
	record := into[api.VMGrant](t, h.do("GET", grants+"/"+id, ""))
	if record.ID == "" || record.VMID != id || record.IdentityID != "one" || record.GrantedBy != string(alice) || record.GrantedAt.IsZero() {
		t.Errorf("%+v", record)
	}
	list := into[api.VMGrantList](t, h.do("GET", grants+"?offset=0", ""))
	if list.Total != 1 || len(list.Permissions) != 1 || list.Permissions[0].ID != record.ID {
		t.Errorf("%+v", list)
	}
}

// What an identity does in a VM ends when its grant does, and is left alone
// when another's does.
func TestGrantTakenInTheMiddle(t *testing.T) {
	h := newHarness(t)
	vm := h.vms.add(coppice.VM{})
	h.people.identity(alice, "one")
	h.people.identity(alice, "two")
	h.people.grant("one", vm, "bob")
	h.people.grant("two", vm)
	secret := []string{"Authorization:", api.HeaderAccessToken + ": one"}
	conn := h.openExec(string(vm), api.ExecStart{Command: "echo begun; sleep 1000", User: "bob"}, secret)
	defer conn.CloseNow()
	if got := next(t, conn); got != "\x01begun\n" {
		t.Fatalf("%q", got)
	}
	if a := h.do("DELETE", identitiesPath+"/two", ""); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := h.do("PUT", identitiesPath+"/one/permissions/vm/"+string(vm), `{"allowedUsers":["carol"]}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var last api.ExecError
	if err := json.Unmarshal([]byte(next(t, conn)), &last); err != nil || last.Type != api.TypeError || last.Code != "UNAUTHORIZED_ERROR" {
		t.Errorf("%+v %v", last, err)
	}
}
