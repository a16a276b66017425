package mem_test

import (
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/conformance"
	"github.com/coppice-vm/coppice/mem"
)

func TestStore(t *testing.T) {
	conformance.TestStore(t, func(*testing.T) conformance.Records { return mem.NewStore() })
}

func TestCaptures(t *testing.T) {
	conformance.TestCaptures(t, func(*testing.T) conformance.Records { return mem.NewStore() })
}

func TestQuotas(t *testing.T) {
	conformance.TestQuotas(t, func(*testing.T) conformance.Records { return mem.NewStore() })
}

func TestHistory(t *testing.T) {
	conformance.TestHistory(t, func(*testing.T) conformance.Records { return mem.NewStore() })
}

func TestAccounts(t *testing.T) {
	conformance.TestAccounts(t, func(*testing.T) conformance.People { return mem.NewStore() })
	conformance.TestSSHKeys(t, func(*testing.T) conformance.People { return mem.NewStore() })
}

func TestIdentities(t *testing.T) {
	conformance.TestIdentities(t, func(*testing.T) conformance.People { return mem.NewStore() })
}

func TestPool(t *testing.T) {
	conformance.TestPool(t, func(t *testing.T) conformance.PoolUnderTest {
		image := coppice.Image{
			ID: "image", Disk: "images/image/disk.raw", DiskMiB: 1,
			Kernel: "images/image/vmlinux", Initrd: "images/image/initrd", Cmdline: "quiet",
		}
		pool := mem.NewPool(image)
		if err := pool.WriteFile(image.Disk, []byte("a file system")); err != nil {
			t.Fatal(err)
		}
		return conformance.PoolUnderTest{Pool: pool, Image: image, Files: pool}
	})
}

func TestMappings(t *testing.T) {
	conformance.TestMappings(t, func(*testing.T) conformance.Names { return mem.NewStore() })
}
