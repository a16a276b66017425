package http

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
)

func TestPorts(t *testing.T) {
	h := newHarness(t)
	vm := string(h.vms.add(coppice.VM{}))
	net := filepath.Join(h.dir, "proc/net")
	if err := os.MkdirAll(net, 0o755); err != nil {
		t.Fatal(err)
	}
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for name, table := range map[string]string{
		"tcp": head +
			"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1\n" +
			"   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2\n" +
			"   2: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3\n" +
			"   3: 0200000A:D431 0100000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 4\n" +
			"   4: nonsense:0050 0100000A:0050 0A\n   5: 00:FFFFF 0 0A\n",
		"tcp6": head +
			"   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 0 0 0\n" +
			"   1: 00000000000000000000000001000000:1389 00000000000000000000000000000000:0000 0A 0 0 0\n" +
			"   2: 0000000000000000FFFF00000100007F:0019 00000000000000000000000000000000:0000 0A 0 0 0\n",
	} {
		if err := os.WriteFile(filepath.Join(net, name), []byte(table), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const want = `{"ports":[{"port":22,"loopback":false},{"port":25,"loopback":true},{"port":3000,"loopback":false},` +
		`{"port":5001,"loopback":true},{"port":8080,"loopback":true}]}`
	if a := h.do("GET", "/v1/vms/"+vm+"/ports", ""); a.status != 200 || strings.TrimSpace(a.body) != want {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := os.Remove(filepath.Join(net, "tcp6")); err != nil {
		t.Fatal(err)
	}
	if a := h.do("GET", "/v1/vms/"+vm+"/ports", ""); a.status != 200 || !strings.Contains(a.body, "8080") {
		t.Errorf("without IPv6: %d %s", a.status, a.body)
	}
}

func TestPortsWakeNobody(t *testing.T) {
	h := newHarness(t)
	vm := string(h.vms.add(coppice.VM{State: coppice.Suspended}))
	if a := h.do("GET", "/v1/vms/"+vm+"/ports", ""); a.status != 400 || a.code() != "VM_NOT_RUNNING" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if h.vms.inUse != 0 || len(h.vms.uses) != 0 {
		t.Errorf("the VM was used: %v", h.vms.uses)
	}
}
