package http

import (
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
)

// What a VM may reach is said and changed; what makes no policy changes nothing.
func TestNetworkOfVM(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	path := "/v1/vms/" + id + "/network"
	h.vms.traffic = coppice.Traffic{Sent: 1, Received: 2}
	for _, c := range []struct{ body, want string }{
		{"", `{"egress":"closed","egressDefault":true,"sentBytes":1,"receivedBytes":2}`},
		{`{"egress":"*.Example.com, 10.0.0.0/8"}`, `{"egress":"*.example.com,10.0.0.0/8","egressDefault":false,"sentBytes":1,"receivedBytes":2}`},
		{`{"egress":"open","new":"member"}`, `{"egress":"open","egressDefault":false,"sentBytes":1,"receivedBytes":2}`},
		{`{"egress":null}`, `{"egress":"closed","egressDefault":true,"sentBytes":1,"receivedBytes":2}`},
	} {
		method := "PUT"
		if c.body == "" {
			method = "GET"
		}
		if a := h.do(method, path, c.body); a.status != 200 || strings.TrimSpace(a.body) != c.want {
			t.Errorf("%s %s: %d %s", method, c.body, a.status, a.body)
		}
	}
	for _, body := range []string{`{"egress":""}`, `{"egress":"10.0.0.1/8"}`, `{"egress":"closed,open"}`, `{"egress":7}`, `{}`, ``} {
		if a := h.do("PUT", path, body); a.status != 400 || a.code() != "INVALID_REQUEST" {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := h.do("POST", "/v1/vms", `{"egress":"2001:db8::/32"}`); a.status != 400 || a.code() != "CREATE_VM_BAD_REQUEST" || !strings.Contains(a.body, "no IPv6") {
		t.Errorf("create: %d %s", a.status, a.body)
	}
	h.do("POST", "/v1/vms", `{"spec":{"egress":"10.0.0.0/8"}}`)
	if h.vms.created.Egress != "10.0.0.0/8" {
		t.Errorf("a VM is created with the policy %q", h.vms.created.Egress)
	}
}

// Whether a VM is private is said when it is made, changed, and shown.
func TestPrivate(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	for _, private := range []string{"true", "false"} {
		for _, a := range []answer{h.do("PUT", "/v1/vms/"+id+"/ingress", `{"private":`+private+`}`), h.do("GET", "/v1/vms/"+id, "")} {
			if a.status != 200 || !strings.Contains(a.body, `"private":`+private) {
				t.Errorf("%d %s, want %s", a.status, a.body, private)
			}
		}
	}
	for _, body := range []string{`{}`, ``, `{"private":null}`, `{"private":"yes"}`} {
		if a := h.do("PUT", "/v1/vms/"+id+"/ingress", body); a.status != 400 || a.code() != "INVALID_REQUEST" {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	h.do("POST", "/v1/vms", `{"private":true}`)
	if !h.vms.created.Private {
		t.Error("a VM that is to be private is not")
	}
}
