package mem_test

import (
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/conformance"
	"github.com/coppice-vm/coppice/mem"
)

func TestNetwork(t *testing.T) {
	n := mem.NewNetwork()
	conformance.TestNetwork(t, conformance.NetworkHost{
		Open:  func() coppice.Network { n = n.Reopen(); return n },
		Plug:  func(id coppice.VMID) conformance.NetworkGuest { return n.Plug(id) },
		World: mem.World,
	})
}
