package e2e

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/nodetest"
)

// The dashboard in a real browser, by somebody who makes a VM, works in it,
// forks it and deletes it.
func TestDashboard(t *testing.T) {
	credentials, err := install.data.ReadCredentials()
	if err != nil {
		t.Fatal(err)
	}
	pictures, err := filepath.Abs("../artifacts/dashboard")
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t)
	t.Cleanup(func() {
		list, err := c.VMs(context.Background(), client.Query{Search: "sapling"})
		if err != nil {
			t.Error(err)
		}
		for _, vm := range list.VMs {
			remove(t, c, vm.ID)
		}
	})
	nodetest.Run(t, "../dashboard/trials", []string{"URL=" + credentials.URL, "KEY=" + credentials.Key, "ARTIFACTS=" + pictures}, "vm.test.mjs")
}
