//go:build failpoints

package failports

import (
	"context"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
)

var (
	networkSetUp    = newEffect("Network.SetUp")
	networkTearDown = newEffect("Network.TearDown")
	networkNetworks = failpoint.New("Network.Networks")
)

type network struct {
	coppice.Network
	life *failpoint.Life
}

// Network puts points around networks.
func Network(life *failpoint.Life, n coppice.Network) coppice.Network { return network{n, life} }

func (n network) SetUp(ctx context.Context, id coppice.VMID, egress coppice.Egress) error {
	return carry(ctx, n.life, networkSetUp, func(ctx context.Context) error {
		return n.Network.SetUp(ctx, id, egress)
	})
}

func (n network) TearDown(ctx context.Context, id coppice.VMID) error {
	return carry(ctx, n.life, networkTearDown, func(ctx context.Context) error {
		return n.Network.TearDown(ctx, id)
	})
}

func (n network) Networks(ctx context.Context) ([]coppice.VMID, error) {
	return look(ctx, n.life, networkNetworks, func(ctx context.Context) ([]coppice.VMID, error) {
		return n.Network.Networks(ctx)
	})
}
