package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/access"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/sqlite"
)

// Limits are changed while a daemon has the database open, which sees them at once.
func TestSetLimits(t *testing.T) {
	data := t.TempDir()
	run := func(args ...string) error {
		m := &Main{Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer), Getenv: func(string) string { return "" }}
		if err := m.Parse(append([]string{"limits", "set", "--data", data}, args...)); err != nil {
			return err
		}
		return m.Run(t.Context())
	}
	if err := run("--vms", "3"); err == nil || !strings.Contains(err.Error(), "data directory") {
		t.Errorf("without a database: %v", err)
	}
	db, err := sqlite.Open(t.Context(), data+"/coppice.db")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	want := coppice.DefaultLimits
	for _, c := range []struct {
		args   []string
		change func()
	}{
		{[]string{"--vms", "3", "--memory", "4G"}, func() { want.VMs, want.Sum.MemoryMiB = 3, 4096 }},
		{[]string{"--running", "0", "--memory", "none"}, func() { want.Running, want.Sum.MemoryMiB = 0, coppice.NoLimit }},
		{
			[]string{"--cpu", "5", "--storage", "2T", "--vm-cpu", "6", "--vm-memory", "512M", "--vm-storage", "7G", "--snapshots", "8", "--vm-terminals", "9"},
			func() {
				want.Sum.VCPUs, want.Sum.DiskMiB, want.Each = 5, 2<<20, coppice.Size{VCPUs: 6, MemoryMiB: 512, DiskMiB: 7168}
				want.Snapshots, want.PTYs = 8, 9
			},
		},
	} {
		if err := run(c.args...); err != nil {
			t.Fatal(err)
		}
		c.change()
		if got, err := db.Limits(t.Context(), access.HostAccount); err != nil || got != want {
			t.Errorf("%v: %+v, %v, want %+v", c.args, got, err, want)
		}
	}
	for _, args := range [][]string{{}, {"--vms", "-1"}, {"--vms", "many"}, {"--memory", "4X"}, {"--vms", "1", "extra"}} {
		if err := run(args...); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
	if got, _ := db.Limits(t.Context(), "somebody"); got != coppice.DefaultLimits {
		t.Errorf("another account's limits: %+v", got)
	}
}

// Fifty requests at once, where there may be ten VMs, make ten.
func TestFiftyRequestsAtALimitOfTen(t *testing.T) {
	credentials, store, _ := serveTwinWith(t, t.TempDir())
	limits := coppice.DefaultLimits
	limits.VMs = 10
	if err := store.SetLimits(t.Context(), access.HostAccount, limits); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(credentials.URL, credentials.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var mu sync.Mutex
	made := 0
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := c.Create(context.WithoutCancel(t.Context()), api.CreateVM{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
			} else if code := coppice.CodeOf(err); code != coppice.CodeTotalVMLimit {
				t.Errorf("refused with %s: %v", code, err)
			}
		})
	}
	wg.Wait()
	got, err := c.Limits(t.Context())
	if err != nil || made != 10 || got.Usage.VMs != 10 || *got.Limits.VMs != 10 {
		t.Errorf("%d were made; the API says %+v, %v", made, got, err)
	}
}
