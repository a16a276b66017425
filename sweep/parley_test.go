//go:build failpoints

package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/coppice-vm/coppice"
	realguest "github.com/coppice-vm/coppice/guest"
	"github.com/coppice-vm/coppice/lifecycle"
	"github.com/coppice-vm/coppice/mem"
)

// A parley is a host whose machines have agents, and its daemon.
type parley struct {
	ctx    context.Context
	agents *agents
	hv     *mem.Hypervisor
	net    *mem.Network
	config lifecycle.Config
	*lifecycle.Manager
}

func newParley(ctx context.Context) (*parley, error) {
	pool, store := mem.NewPool(coppice.Image{ID: image, Disk: "images/image/disk.raw", DiskMiB: 1}), mem.NewStore()
	p := &parley{ctx: ctx, hv: mem.NewHypervisor(pool), net: mem.NewNetwork()}
	p.agents = &agents{hv: p.hv, conns: map[coppice.VMID]net.Conn{}}
	log := slog.New(slog.DiscardHandler)
	p.config = lifecycle.Config{
		Store: store, Captures: store, Quotas: store, History: store, Pool: pool, Network: p.net, Gauge: mem.NewGauge(),
		Hypervisor: agentHypervisor{p.hv, p.agents}, Guest: realguest.New(log), Log: log,
		Egress: coppice.EgressOpen, Image: image, Size: defaultSize, HostBoot: "boot", KeepHistory: time.Hour,
	}
	return p, p.open()
}

func (p *parley) open() (err error) {
	p.Manager, err = lifecycle.Open(p.ctx, p.config)
	return err
}

// leave has the daemon leave at once.
func (p *parley) leave() {
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	p.Close(ctx)
}

// end has the daemon leave, and every VM's process end.
func (p *parley) end() {
	p.leave()
	ids, _ := p.hv.Runs(p.ctx)
	for _, id := range ids {
		p.hv.Discard(p.ctx, id)
	}
}

func (p *parley) create() (coppice.VMID, error) {
	never := 24 * time.Hour // is it reclaimed
	vm, err := p.Create(p.ctx, coppice.NewVM{Account: alice, IdleTimeout: &never})
	return vm.ID, err
}

// servedUntil has a VM serve until something is answered in its time, and returns that.
func (p *parley) servedUntil(id coppice.VMID, acted <-chan error, within time.Duration) (answer, err error) {
	for began := time.Now(); ; {
		asked := time.Now()
		if err := p.run(id); err != nil || time.Since(asked) > time.Second {
			return nil, fmt.Errorf("another VM was served after %v: %v", time.Since(asked), err)
		}
		select {
		case answer := <-acted:
			return answer, nil
		case <-time.After(10 * time.Second):
		}
		if time.Since(began) > within {
			return nil, fmt.Errorf("it is not answered after %v", time.Since(began))
		}
	}
}

// goes holds that a VM can be stopped and deleted.
func (p *parley) goes(vm *coppice.VM) error {
	if vm.Verb != coppice.Idle {
		return fmt.Errorf("VM %s is %s, and its %s is in flight", vm.ID, vm.State, vm.Verb)
	}
	began := time.Now()
	_, err := p.Stop(p.ctx, alice, vm.ID)
	if err != nil && coppice.CodeOf(err) != coppice.CodeVMNotRunning || time.Since(began) > stopTime {
		return fmt.Errorf("a VM that is %s was stopped after %v: %v", vm.State, time.Since(began), err)
	}
	began = time.Now()
	if _, err := p.Delete(p.ctx, alice, vm.ID); err != nil || time.Since(began) > time.Second {
		return fmt.Errorf("it was deleted after %v: %v", time.Since(began), err)
	}
	return nil
}

// remains holds that one VM is there, which works, and nothing else.
func (p *parley) remains(id coppice.VMID) error {
	time.Sleep(time.Minute) // for what nobody waits for
	err := p.run(id)
	runs, runsErr := p.hv.Runs(p.ctx)
	networks, netErr := p.net.Networks(p.ctx)
	if err = errors.Join(err, runsErr, netErr); err != nil || !slices.Equal(runs, []coppice.VMID{id}) || !slices.Equal(networks, runs) {
		return fmt.Errorf("there are runs of %v and networks of %v, and one VM: %v", runs, networks, err)
	}
	return nil
}
