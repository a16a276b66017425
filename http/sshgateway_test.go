package http

import (
	"testing"

	"github.com/coppice-vm/coppice/api"
)

func TestSSHGateway(t *testing.T) {
	h := newHarness(t)
	if a := h.do("GET", "/v1/ssh", ""); a.status != 404 || a.code() != "NOT_FOUND" {
		t.Errorf("where there is none: %d %s", a.status, a.body)
	}
	want := api.SSHGateway{Host: "192.0.2.1", Port: 22, HostKey: "ssh-ed25519 AAAA"}
	h.server.config.SSH = want
	if got := into[api.SSHGateway](t, h.do("GET", "/v1/ssh", "")); got != want {
		t.Errorf("%+v", got)
	}
}
