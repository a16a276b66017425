package http

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// pathOf fills a pattern. An identity is alice's "ungranted", if a test has made it.
func pathOf(rt route, vm string) (method, path string) {
	method = rt.method
	if method == every {
		method = "GET"
	}
	path = strings.NewReplacer("{vm_id}", vm, "{identity}", "ungranted", "{session_id}", "some", "{port}", "80", "*", "x").Replace(rt.path)
	return method, path
}

// Every route but the public ones refuses whoever shows no key or an unknown
// one, before it does anything else.
func TestEveryRouteChecksTheKey(t *testing.T) {
	h := newHarness(t)
	vm := string(h.vms.add(coppice.VM{}))
	public := 0
	for _, rt := range h.server.routes() {
		method, path := pathOf(rt, vm)
		if rt.who == anyone {
			public++
			if a := h.do(method, path, "", "Authorization:"); a.status != 200 {
				t.Errorf("%s %s is public and answers %d", method, path, a.status)
			}
			continue
		}
		for _, header := range []string{
			"Authorization:", "Authorization: Bearer", "Authorization: Basic YTpi",
			"Authorization: Bearer wrong", "Authorization: alice-key",
		} {
			a := h.do(method, path, "{not even json", header)
			var body struct{ Route, Reason string }
			if err := json.Unmarshal([]byte(a.body), &body); err != nil {
				t.Fatal(err)
			}
			if a.status != 401 || a.code() != "UNAUTHORIZED_ERROR" || body.Route != method+" "+path || body.Reason == "" {
				t.Errorf("%s %s with %q: %d %s", method, path, header, a.status, a.body)
			}
			if a.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s: 401 without WWW-Authenticate", method, path)
			}
		}
	}
	if public != 2 {
		t.Errorf("%d routes are public; healthz and openapi.json should be", public)
	}
}

// Whoever asks for a VM that is another's, was never there, or cannot be, is
// told the same by every route; and the first two cases look the same.
func TestEveryRouteKnowsOnlyTheAccountsVMs(t *testing.T) {
	h := newHarness(t)
	h.people.identity(alice, "ungranted")
	foreign := string(h.vms.add(coppice.VM{Account: bob}))
	unknown := string(coppice.NewVMID())
	tried := 0
	for _, rt := range h.server.routes() {
		if !strings.Contains(rt.path, "{vm_id}") || rt.id == "" {
			continue
		}
		tried++
		body := ""
		switch rt.id {
		case "execAwait":
			body = `{"command":"true"}`
		case "writeFile":
			body = `{"content":""}`
		}
		method, path := pathOf(rt, foreign)
		a := h.do(method, path, body)
		_, path = pathOf(rt, unknown)
		b := h.do(method, path, body)
		if a.status != 404 || a.code() != "VM_NOT_FOUND" && a.code() != "VM_PERMISSION_NOT_FOUND" {
			t.Errorf("%s %s of another's VM: %d %s", method, rt.path, a.status, a.body)
		}
		if strings.ReplaceAll(a.body, foreign, unknown) != b.body || a.status != b.status {
			t.Errorf("%s %s tells another's VM from none:\n%s%s", method, rt.path, a.body, b.body)
		}
		for _, id := range []string{"nope", "a%2Fb%20c", "ABCDEFGHIJKLMNOPQRST", unknown + "x", "%00"} {
			_, path = pathOf(rt, id)
			if a := h.do(method, path, body); a.status != 400 || a.code() != "INVALID_VM_ID" {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			}
		}
	}
	if tried < 12 {
		t.Errorf("only %d routes are about a VM", tried)
	}
}

// What is not built says so, whatever is sent, with a status of its own and a
// code that the contract's client knows.
func TestNotOffered(t *testing.T) {
	h := newHarness(t)
	vm := string(h.vms.add(coppice.VM{}))
	for _, rt := range h.server.notOffered() {
		methods := []string{rt.method}
		if rt.method == every {
			methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
		}
		for _, method := range methods {
			_, path := pathOf(rt, vm)
			a := h.do(method, path, `{"spec":{}}`)
			if a.status != http.StatusNotImplemented || a.code() != "SERVICE_UNAVAILABLE" || !strings.Contains(a.body, rt.summary) {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			}
		}
	}
}

// The paths under which the contract's calls arrive, each to the right place.
func TestRouting(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/v1/vms/snapshots", 200, ""},
		{"GET", "/v1/vms/snapshots/sc-1", 400, "INVALID_SNAPSHOT_ID"},
		{"GET", "/v1/vms/snapshots/console", 400, "INVALID_SNAPSHOT_ID"},
		{"PATCH", "/v1/vms/snapshots/sc-1", 400, "INVALID_SNAPSHOT_ID"},
		{"DELETE", "/v1/vms/snapshots/sc-00000000000000000001", 404, "SNAPSHOT_NOT_FOUND"},
		{"PUT", "/v1/vms/snapshots", 405, "INVALID_REQUEST"},
		{"GET", "/v1/vms/snapshots/sc-00000000000000000001/x", 404, "NOT_FOUND"},
		{"POST", "/v1/vms/snapshots", 501, "SERVICE_UNAVAILABLE"},
		{"GET", "/v1/vms/builds/bld-1/phases", 501, "SERVICE_UNAVAILABLE"},
		{"GET", "/v1/vms/" + id + "/build", 501, "SERVICE_UNAVAILABLE"},
		{"GET", "/v1/vms/" + id + "/pty?cols=80&rows=24", 426, "INVALID_REQUEST"},
		{"GET", "/v1/vms/" + id + "/pty?cols=0&rows=24", 400, "INVALID_REQUEST"},
		{"GET", "/v1/vms/" + id + "/pty?cols=x", 400, "INVALID_REQUEST"},
		{"DELETE", "/v1/vms/" + id + "/pty/sessions/a%20b", 400, "INVALID_SESSION_ID"},
		{"DELETE", "/v1/vms/" + id + "/pty/sessions/none", 404, "SESSION_NOT_FOUND"},
		{"GET", "/v1/vms/a%2Fb%20c", 400, "INVALID_VM_ID"},
		{"GET", "/", 404, "NOT_FOUND"},
		{"GET", "/v1", 404, "NOT_FOUND"},
		{"GET", "/v1/vms/", 404, "NOT_FOUND"},
		{"POST", "/v1/vms/" + id + "/nonsense", 404, "NOT_FOUND"},
		{"GET", "//v1//vms", 404, "NOT_FOUND"},
		{"GET", "/v1/../v1/vms", 404, "NOT_FOUND"},
		{"PUT", "/v1/vms", 405, "INVALID_REQUEST"},
		{"GET", "/v1/vms/" + id + "/start", 405, "INVALID_REQUEST"},
		{"DELETE", "/auth/v1/whoami", 405, "INVALID_REQUEST"},
		{"HEAD", "/v1/vms", 405, ""},
	} {
		a := h.do(c.method, c.path, "")
		if a.status != c.status || a.code() != c.code {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
		}
	}
	if allow := h.do("PUT", "/v1/vms", "").header.Get("Allow"); allow != "GET, POST" {
		t.Errorf("Allow: %q", allow)
	}
}

// A body that is too large or not what it should be is refused in the
// contract's words, on every route that takes one, and harms nobody.
func TestBadBodies(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	large := `{"command":"` + strings.Repeat("x", maxBodyBytes) + `"}`
	for _, path := range []string{"/v1/vms", "/v1/vms/" + id + "/start", "/v1/vms/" + id + "/fork", "/v1/vms/" + id + "/exec-await"} {
		if a := h.do("POST", path, large); a.status != 413 || a.code() != "INVALID_REQUEST" {
			t.Errorf("%s, too large: %d %.200s", path, a.status, a.body)
		}
		for _, body := range []string{"{", "[]", `"x"`, "null", "{}{}", "\xff\xfe", `{"command":5,"vcpuCount":"two","idleTimeoutSeconds":[]}`} {
			a := h.do("POST", path, body)
			if a.status != 400 || a.code() != "INVALID_REQUEST" {
				t.Errorf("%s with %s: %d %s", path, body, a.status, a.body)
			}
		}
		if a := h.do("POST", path, "{}", "Content-Type: text/plain"); a.status != 415 || !strings.Contains(a.body, "application/json") {
			t.Errorf("%s with text/plain: %d %s", path, a.status, a.body)
		}
	}
	if a := h.do("POST", "/v1/vms/"+id+"/stop", large); a.status != 200 {
		t.Errorf("a body nobody reads: %d %s", a.status, a.body)
	}
	if n := len(h.vms.rows); n != 1 {
		t.Errorf("%d VMs", n)
	}
}

// Nothing of what goes wrong inside is told to the outside, and all of it to the log.
func TestInternalErrors(t *testing.T) {
	h := newHarness(t)
	id := h.vms.add(coppice.VM{})
	const secret = "/var/lib/coppice/secret"

	h.vms.fail = &testError{secret}
	for _, path := range []string{"/v1/vms", "/v1/vms/" + string(id), "/v1/vms/" + string(id) + "/console"} {
		a := h.do("GET", path, "")
		if a.status != 500 || a.code() != "INTERNAL_ERROR" || strings.Contains(a.body, "secret") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
		if log := h.log.String(); !strings.Contains(log, secret) || !strings.Contains(log, "trace="+a.header.Get(api.HeaderTrace)) {
			t.Errorf("the log says nothing of %s", secret)
		}
	}
	h.vms.fail = coppice.Errorf(coppice.CodeNoStorage, "the pool is full").Because(&testError{secret})
	if a := h.do("POST", "/v1/vms", "{}"); a.status != 503 || a.code() != "NO_LOCAL_STORAGE_CAPACITY" || strings.Contains(a.body, "secret") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := h.do("GET", "/v1/vms", "", "Authorization: Bearer broken"); a.status != 500 || strings.Contains(a.body, "secret") {
		t.Errorf("%d %s", a.status, a.body)
	}
	h.vms.panic = true
	if a := h.do("POST", "/v1/vms", "{}"); a.status != 500 || a.code() != "INTERNAL_ERROR" || strings.Contains(a.body, "mad") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if log := h.log.String(); !strings.Contains(log, "create went mad") || !strings.Contains(log, "fake_test.go") {
		t.Error("the log has neither the panic nor its stack")
	}
	if strings.Contains(h.log.String(), "alice-key") {
		t.Error("the log has a key")
	}
}

type testError struct{ text string }

func (e *testError) Error() string { return e.text }
