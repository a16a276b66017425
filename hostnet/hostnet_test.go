package hostnet

import (
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/conformance"
)

func TestNetwork(t *testing.T) {
	makeWorld(t)
	dir := t.TempDir()
	n := open(t, dir)
	conformance.TestNetwork(t, conformance.NetworkHost{
		Open: func() coppice.Network {
			must(t, n.Close())
			n = open(t, dir)
			return n
		},
		Plug:  func(id coppice.VMID) conformance.NetworkGuest { return plug(t, n, id) },
		World: world,
	})
	must(t, Purge(t.Context(), dir))
}

func BenchmarkSetUp(b *testing.B) {
	for _, egress := range []coppice.Egress{coppice.EgressClosed, coppice.EgressOpen} {
		b.Run(string(egress), func(b *testing.B) {
			n := New(Config{Dir: b.TempDir()})
			defer n.Close()
			var ids []coppice.VMID
			for b.Loop() {
				id := coppice.NewVMID()
				if err := n.SetUp(b.Context(), id, egress); err != nil {
					b.Fatal(err)
				}
				ids = append(ids, id)
			}
			b.StopTimer()
			for _, id := range ids {
				if err := n.TearDown(b.Context(), id); err != nil {
					b.Error(err)
				}
			}
		})
	}
}
