package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/host"
	"github.com/coppice-vm/coppice/internal/nodetest"
	"github.com/coppice-vm/coppice/mem"
)

// try runs files of trials of the dashboard, one after the other, in a real
// browser, against a host.
func try(t *testing.T, at host.Credentials, files ...string) {
	t.Helper()
	pictures, err := filepath.Abs("../../artifacts/dashboard")
	if err != nil {
		t.Fatal(err)
	}
	nodetest.Run(t, "../../dashboard/trials", []string{"URL=" + at.URL, "KEY=" + at.Key, "ARTIFACTS=" + pictures}, append([]string{"--test-concurrency=1"}, files...)...)
}

func TestDashboardWithoutVMs(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a browser")
	}
	try(t, serveTwin(t, t.TempDir()), "empty.test.mjs")
}

// The page with a tree of 200 VMs in all states.
func TestDashboard(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a browser")
	}
	home := t.TempDir()
	for _, dir := range []string{"root/etc", "proc/net"} {
		if err := os.MkdirAll(filepath.Join(home, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at, _, hypervisor := serveTwinWith(t, home)
	c, err := client.New(at.URL, at.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	plant(t, c, hypervisor)
	try(t, at, "pages.test.mjs", "twin.test.mjs")
}

// plant makes 200 VMs, forks of forks of forks, a snapshot, and one that is lost.
func plant(t *testing.T, c *client.Client, hypervisor *mem.Hypervisor) {
	t.Helper()
	create := func(name string) string {
		vm, err := c.Create(t.Context(), api.CreateVM{VMSpec: api.VMSpec{Name: &name, IdleTimeoutSeconds: api.IdleTimeout{Set: true}}})
		if err != nil {
			t.Fatal(err)
		}
		return vm.ID
	}
	fork := func(vm string, n int, name string) []string {
		made, err := c.Fork(t.Context(), vm, api.ForkVM{Count: &n, Name: &name})
		if err != nil || len(made.Errors) > 0 {
			t.Fatal(err, made.Errors)
		}
		var ids []string
		for _, f := range made.Forks {
			ids = append(ids, f.ID)
		}
		return ids
	}
	must := func(_ any, err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	hello := create("hello")
	twigs := fork(hello, 16, "twig")
	for i, twig := range twigs[:10] {
		leaves := fork(twig, 15, fmt.Sprintf("leaf-%d", i+1))
		must(c.Suspend(t.Context(), leaves[i]))
		must(c.Stop(t.Context(), leaves[i+1]))
	}
	buds := fork(fork(twigs[12], 1, "shoot")[0], 30, "bud")
	must(c.Delete(t.Context(), twigs[12])) // its forks are there
	must(c.Suspend(t.Context(), buds[3]))
	must(c.Suspend(t.Context(), twigs[1]))
	must(c.TakeSnapshot(t.Context(), hello, api.TakeSnapshot{Name: new("warm")}))
	must(c.MapDomain(t.Context(), "www.example.test", hello, 80))
	must(c.Stop(t.Context(), create("build")))
	wreck := create("wreck")
	hypervisor.End(coppice.VMID(wreck), coppice.Exit{Kind: coppice.ExitCrash, Detail: "it fell"})
	eventually(t, "the wreck is lost", func() bool {
		vm, err := c.VM(t.Context(), wreck)
		must(vm, err)
		return vm.State == "lost"
	})
	create("<img src=x onerror=alert(1)>")
	create(strings.Repeat("name", 32))
	list, err := c.VMs(t.Context(), client.Query{})
	if err != nil || list.TotalCount < 200 {
		t.Fatalf("%d VMs, %v", list.TotalCount, err)
	}
}
