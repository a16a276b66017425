package http

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

func TestCreate(t *testing.T) {
	h := newHarness(t)
	seconds := func(n int) *time.Duration { return new(time.Duration(n) * time.Second) }
	for _, c := range []struct {
		body string
		want coppice.NewVM
	}{
		{"", coppice.NewVM{}},
		{"{}", coppice.NewVM{}},
		{`{"spec":{"name":null}}`, coppice.NewVM{}},
		{`{"spec":{"aptDeps":[],"name":null}}`, coppice.NewVM{}},
		{`{"name":"n","spec":{"name":"n","discriminator":"d","skipCache":true}}`, coppice.NewVM{Name: "n"}},
		{`{"template":{"rootfsSizeGb":40,"memSizeGb":8,"vcpuCount":4}}`, coppice.NewVM{Size: coppice.Size{VCPUs: 4, MemoryMiB: 8192, DiskMiB: 40960}}},
		{`{"vcpuCount":1,"memSizeGb":0.5,"rootfsSizeGb":2.5}`, coppice.NewVM{Size: coppice.Size{VCPUs: 1, MemoryMiB: 512, DiskMiB: 2560}}},
		{`{"vcpuCount":1,"memSizeGb":1,"spec":{"vcpuCount":4,"memSizeGb":null},"template":{"vcpuCount":2,"memSizeGb":2}}`,
			coppice.NewVM{Size: coppice.Size{VCPUs: 4, MemoryMiB: 2048}}},
		{`{"snapshotId":"sc-00000000000000000001","name":null}`, coppice.NewVM{Snapshot: "sc-00000000000000000001"}},
		{`{"template":{"snapshotId":"sc-00000000000000000001","vcpuCount":4}}`, coppice.NewVM{Snapshot: "sc-00000000000000000001", Size: coppice.Size{VCPUs: 4}}},
		{`{"idleTimeoutSeconds":600}`, coppice.NewVM{IdleTimeout: seconds(600)}},
		{`{"idleTimeoutSeconds":null}`, coppice.NewVM{IdleTimeout: seconds(0)}},
		{`{"activityThresholdBytes":100}`, coppice.NewVM{ActivityBytes: new(int64(100))}},
		{`{"activityThresholdBytes":null}`, coppice.NewVM{}},
		{`{"idleTimeoutSeconds":60,"spec":{"idleTimeoutSeconds":30}}`, coppice.NewVM{IdleTimeout: seconds(30)}},
		{`{"idleTimeoutSeconds":60,"spec":{"idleTimeoutSeconds":null}}`, coppice.NewVM{IdleTimeout: seconds(0)}},
		{`{"persistence":null}`, coppice.NewVM{}},
		{`{"persistence":{"type":"sticky","priority":3}}`, coppice.NewVM{Persistence: coppice.Persistence{Type: coppice.Sticky, Priority: 3}}},
		{`{"persistence":{"type":"sticky","priority":null}}`, coppice.NewVM{Persistence: coppice.Persistence{Type: coppice.Sticky, Priority: 5}}},
		{`{"persistence":{"type":"persistent","new":"member"}}`, coppice.NewVM{Persistence: coppice.Persistence{Type: coppice.Persistent}}},
		{`{"persistence":{"type":"ephemeral"}}`, coppice.NewVM{Persistence: coppice.Persistence{Type: coppice.Ephemeral, DeleteEvent: coppice.OnSuspend}}},
		{`{"persistence":{"type":"ephemeral","deleteEvent":"OnStop"}}`, coppice.NewVM{Persistence: coppice.Persistence{Type: coppice.Ephemeral, DeleteEvent: coppice.OnStop}}},
		{`{"git":{"config":{},"repos":[]},"systemd":{"services":[]},"users":[],"additionalFiles":{},"ports":[],"recreate":false,
			"waitForReadySignal":true,"readySignalTimeoutSeconds":5,"whatever":{"is":"new"}}`, coppice.NewVM{}},
	} {
		a := h.do("POST", "/v1/vms", c.body)
		var created map[string]any
		if err := json.Unmarshal([]byte(a.body), &created); err != nil || a.status != 200 {
			t.Errorf("%s: %d %s", c.body, a.status, a.body)
			continue
		}
		if domains, ok := created["domains"].([]any); !ok || len(domains) != 0 {
			t.Errorf("%s: domains is %v, must be []", c.body, created["domains"])
		}
		if id, _ := created["id"].(string); !coppice.VMID(id).Valid() {
			t.Errorf("%s: id is %v", c.body, created["id"])
		}
		c.want.Account = alice
		if diff := cmp.Diff(c.want, h.vms.created); diff != "" {
			t.Errorf("%s: -want +got\n%s", c.body, diff)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	h := newHarness(t)
	for _, c := range []struct{ body, says string }{
		{`{"spec":{"aptDeps":["git"]}}`, "spec.aptDeps"},
		{`{"template":{"baseImage":{"dockerfileContent":"FROM x"}}}`, "template.baseImage"},
		{`{"git":{"repos":[{"repo":"r","path":"/p"}],"config":{}}}`, "git"},
		{`{"git":{"config":{"user":{"name":"n"}}}}`, "git"},
		{`{"gitRepos":[{"repo":"r","path":"/p"}]}`, "gitRepos"},
		{`{"spec":{"systemd":{"services":[{"name":"x"}]}}}`, "spec.systemd"},
		{`{"spec":{"snapshot":{"aptDeps":["git"]}}}`, "spec.snapshot"},
		{`{"additionalFiles":{"/a":{"content":"x"}}}`, "additionalFiles"},
		{`{"users":[{"name":"u"}]}`, "users"},
		{`{"groups":[{"name":"g"}]}`, "groups"},
		{`{"recreate":true}`, "recreate"},
		{`{"nics":[{"vpc":"v","mode":"routed","ipv4":true}]}`, "nics"},
		{`{"ports":[{"port":443,"targetPort":3000}]}`, "ports"},
		{`{"udpHolePunchPorts":[{"targetPort":5}]}`, "udpHolePunchPorts"},
		{`{"dockerCredentials":{"registry":"r"}}`, "dockerCredentials"},
		{`{"spec":{"workdir":"/w"}}`, "spec.workdir"},
		{`{"memSizeGb":-1}`, "memSizeGb"},
		{`{"memSizeGb":0}`, "memSizeGb"},
		{`{"memSizeGb":0.3}`, "memSizeGb"},
		{`{"rootfsSizeGb":1e300}`, "rootfsSizeGb"},
		{`{"spec":{"rootfsSizeGb":1e12}}`, "rootfsSizeGb"},
		{`{"vcpuCount":0}`, "vcpuCount"},
		{`{"vcpuCount":-4}`, "vcpuCount"},
		{`{"idleTimeoutSeconds":0}`, "idleTimeoutSeconds"},
		{`{"idleTimeoutSeconds":-5}`, "idleTimeoutSeconds"},
		{`{"idleTimeoutSeconds":1e18}`, "idleTimeoutSeconds"},
		{`{"persistence":{"type":"persistent","priority":3}}`, "persistence.priority"},
		{`{"persistence":{"type":"sticky","deleteEvent":"OnStop"}}`, "persistence.deleteEvent"},
	} {
		a := h.do("POST", "/v1/vms", c.body)
		if a.status != 400 || a.code() != "CREATE_VM_BAD_REQUEST" || !strings.Contains(a.body, c.says) {
			t.Errorf("%s: %d %s", c.body, a.status, a.body)
		}
	}
	for _, c := range []struct{ body, says string }{
		{`{"vcpuCount":1.5}`, "vcpuCount"},
		{`{"activityThresholdBytes":-1}`, "activityThresholdBytes"},
		{`{"vcpuCount":1e30}`, "body"},
		{`{"memSizeGb":"8"}`, "memSizeGb"},
		{`{"name":["x"]}`, "name"},
		{`{"spec":5}`, "spec"},
		{`{"persistence":{}}`, "type"},
		{`{"persistence":{"type":"forever"}}`, "type"},
		{`{"persistence":{"type":"sticky","priority":11}}`, "priority"},
		{`{"persistence":{"type":"ephemeral","deleteEvent":"OnMonday"}}`, "deleteEvent"},
	} {
		a := h.do("POST", "/v1/vms", c.body)
		if a.status != 400 || a.code() != "INVALID_REQUEST" || !strings.Contains(a.body, c.says) {
			t.Errorf("%s: %d %s", c.body, a.status, a.body)
		}
	}
	if len(h.vms.rows) != 0 {
		t.Errorf("%d VMs were made", len(h.vms.rows))
	}
}
