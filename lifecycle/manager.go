// Package lifecycle decides what a VM may do next, does it in steps that
// survive a crash, and is the only writer of VM state.
//
// The rules are a table ([Plan], [Settle]) of pure functions. A [Manager] acts
// by it: every request and every fact (the guest powered itself off) enters
// through perform, which takes the VM's verb in the store, does the verb's
// work and writes down where it led. What a daemon that died left in flight is
// settled by the next one, row by row.
package lifecycle

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
)

// Config is what a [Manager] works with and by.
type Config struct {
	Store      coppice.Store
	Captures   coppice.Captures
	Quotas     coppice.Quotas
	History    coppice.History
	Hypervisor coppice.Hypervisor
	Pool       coppice.Pool
	Guest      coppice.Guest
	Network    coppice.Network
	Gauge      coppice.Gauge
	// Places are where else on the host there may be something of ours; may be nil.
	Places []coppice.Inspector
	// Observer counts what happens; may be nil.
	Observer Observer
	// Tracer follows what is done for a request; may be nil.
	Tracer Tracer
	Log    *slog.Logger

	// VMM is what runs the VMs: its kind and version. The capture of a running
	// machine is of use to the same VMM only.
	VMM string
	// Image that new VMs start from.
	Image coppice.ImageID
	// Size of a new VM where it says nothing.
	Size coppice.Size
	// Spares is how many VMs of that size are restored ahead, so that a create
	// finds one.
	Spares int
	// Husks is how many processes are started ahead for VMs of that size that
	// continue a capture.
	Husks int
	// Eviction says when VMs that do not run make room for those that do.
	Eviction Eviction
	// Budget is what of the host VMs may have.
	Budget Budget
	// Egress is what a VM may reach that says nothing of it.
	Egress coppice.Egress
	// HostBoot identifies this boot of the host.
	HostBoot string
	// StartAgain has VMs boot again that ran when the host was rebooted. Otherwise
	// they are stopped.
	StartAgain bool
	// KeepHistory is how long the history of a VM is kept after it was deleted.
	KeepHistory time.Duration
	// Pace is how long is waited where nothing says that it need not be. What is 0
	// is as hosts want it; tests are in a hurry.
	Pace Pace
}

// A Pace says how long is waited at places where nothing can be waited for.
type Pace struct {
	// Evict is how often the pool is looked at.
	Evict time.Duration
	// Stock is how long nothing must have been taken of what is made ahead before
	// more is: a guest that is in use goes before one that may be.
	Stock time.Duration
	// Drop bounds the removal of what was made ahead when the daemon leaves.
	Drop time.Duration
}

func (p Pace) orDefault() Pace {
	return Pace{
		Evict: cmp.Or(p.Evict, 10*time.Second),
		Stock: cmp.Or(p.Stock, time.Second),
		Drop:  cmp.Or(p.Drop, 10*time.Second),
	}
}

// Deadlines by which work is given up. They bound what hangs; nothing that
// works meets them, also on a host that emulates and is crowded.
const (
	bootDeadline = 5 * time.Minute
	stopGrace    = time.Minute // from asking the guest to insisting
	workDeadline = 10 * time.Minute
	undoDeadline = 30 * time.Second
	seeDeadline  = 10 * time.Second // to find out about a process after a restart
	askDeadline  = 10 * time.Second // for a guest's agent to take a question
)

// A Manager keeps the VMs of a host. Its methods may be called concurrently.
type Manager struct {
	Config

	// base ends when the daemon leaves. Work that it cuts short is left as a
	// crash would leave it; the VMs run on.
	base  context.Context
	leave context.CancelFunc
	work  sync.WaitGroup

	templating sync.Mutex // held while templates are being looked at and made
	auditing   sync.Mutex // held by an audit
	spares     *stock[spare]
	husks      *stock[coppice.VMID] // VMs that a process is prepared for

	inventory inventory

	litter   chan struct{} // holds a token when something is still to be removed
	pressed  chan struct{} // holds a token when the pool is to be looked at
	evicted  int           // VMs so far; of watchStorage only
	stirred  chan struct{} // holds a token when idleness is to be looked at
	reclaims chan struct{} // holds a token for every reclaim in progress
	boots    chan struct{} // holds a token for every VM that boots after the host has

	mu   sync.Mutex
	news chan struct{} // closed when something has happened to a VM
	vms  map[coppice.VMID]*entry
	held map[coppice.CaptureID]int // captures that somebody is at
	// dropping are captures that are being removed or may be, and rowless the VMs without a
	// row that are accounted for: they are made ahead, or being removed.
	dropping map[coppice.CaptureID]int
	rowless  map[coppice.VMID]bool
	// promises are of memory, to VMs that are about to run.
	promises map[coppice.VMID]*promise
}

// An entry is what the manager holds in memory about a VM. Its fields are
// guarded by [Manager.mu].
type entry struct {
	flight  *flight       // what is being done; nil when nothing is
	run     coppice.Run   // the process; nil when there is none
	session *session      // with the guest of run; nil as run is
	gone    chan struct{} // closed when run is let go of
	usage   usage
	// memoryMiB is what the guest of run has.
	memoryMiB int64
}

// Open returns a manager of the VMs in the store. It answers at once: what an
// earlier daemon left is settled in the background, and a request for a VM
// waits until that VM is. The caller closes it.
func Open(ctx context.Context, config Config) (*Manager, error) {
	if config.Tracer == nil {
		config.Tracer = nobody{}
	}
	if config.Observer == nil {
		config.Observer = nobody{}
	}
	config.Pace = config.Pace.orDefault()
	m := &Manager{
		Config: config,
		spares: newStock[spare](config.Spares, config.Pace.Stock),
		husks:  newStock[coppice.VMID](config.Husks, config.Pace.Stock),
		vms:    map[coppice.VMID]*entry{},
		held:   map[coppice.CaptureID]int{},

		dropping: map[coppice.CaptureID]int{},
		rowless:  map[coppice.VMID]bool{},

		news:     make(chan struct{}),
		litter:   make(chan struct{}, 1),
		pressed:  make(chan struct{}, 1),
		stirred:  make(chan struct{}, 1),
		reclaims: make(chan struct{}, reclaimsAbreast),
		boots:    make(chan struct{}, abreast),
		promises: map[coppice.VMID]*promise{},
	}
	m.base, m.leave = context.WithCancel(context.WithoutCancel(ctx))
	vms, err := m.Store.VMs(ctx, coppice.VMFilter{})
	if err != nil {
		return nil, err
	}
	left, err := m.leftovers(ctx)
	if err != nil {
		return nil, err
	}
	m.settleAll(vms)
	m.work.Go(func() {
		if err := m.sweep(m.base, left); err != nil && m.base.Err() == nil {
			m.Log.Error("cannot remove everything an earlier daemon left", "error", err)
			m.untidy()
		}
	})
	m.work.Go(m.watchIdleness)
	m.work.Go(m.watchStorage)
	m.work.Go(m.keepTidy)
	m.work.Go(m.forgetEvents)
	m.work.Go(func() {
		m.spares.keep(m.base, m.makeSpare, func(err error) {
			m.Log.Error("cannot restore a VM ahead; creating takes longer meanwhile", "error", err)
		})
	})
	m.work.Go(func() {
		m.husks.keep(m.base, m.makeHusk, func(err error) {
			m.Log.Error("cannot start a process ahead; forking takes longer meanwhile", "error", err)
		})
	})
	return m, nil
}

// Close makes the daemon let go of the VMs, which run on. Work in flight gets
// until ctx ends to finish; what has not then is settled at the next Open.
func (m *Manager) Close(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		m.flights()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	m.mu.Lock()
	m.leave() // nothing begins after this
	m.mu.Unlock()
	m.work.Wait()
	m.recordAll(ctx)
	m.dropStocks(context.WithoutCancel(ctx))
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.vms {
		if e.session != nil {
			e.session.close()
		}
	}
}

// flights waits for every verb now in flight.
func (m *Manager) flights() {
	m.mu.Lock()
	var flights []*flight
	for _, e := range m.vms {
		if e.flight != nil {
			flights = append(flights, e.flight)
		}
	}
	m.mu.Unlock()
	for _, f := range flights {
		<-f.done
	}
}

// VM returns an account's VM, also when it is a tombstone.
func (m *Manager) VM(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error) {
	vm, err := m.Store.VM(ctx, id)
	if err != nil || vm.Account != account {
		return coppice.VM{}, notFound(id, err)
	}
	m.latest(&vm)
	m.sayWhy(&vm)
	return vm, nil
}

// VMs lists an account's VMs, oldest first.
func (m *Manager) VMs(ctx context.Context, account coppice.AccountID, deleted bool) ([]coppice.VM, error) {
	vms, err := m.Store.VMs(ctx, coppice.VMFilter{Account: account, Deleted: deleted})
	for i := range vms {
		m.latest(&vms[i])
		m.sayWhy(&vms[i])
	}
	return vms, err
}

// Console returns the last part of what a VM's serial console has printed.
func (m *Manager) Console(ctx context.Context, account coppice.AccountID, id coppice.VMID) ([]byte, error) {
	if _, err := m.present(ctx, account, id); err != nil {
		return nil, err
	}
	return m.Hypervisor.Console(ctx, id)
}

// present returns an account's VM, and an error if it has been deleted.
func (m *Manager) present(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error) {
	vm, err := m.VM(ctx, account, id)
	if err == nil && vm.Deleted() {
		err = deleted(id)
	}
	return vm, err
}

// entry returns what is held of a VM. The caller holds m.mu.
func (m *Manager) entry(id coppice.VMID) *entry {
	e := m.vms[id]
	if e == nil {
		e = &entry{}
		m.vms[id] = e
	}
	return e
}

// forget drops what is held of a VM if that is nothing. The caller holds m.mu.
func (m *Manager) forget(id coppice.VMID, e *entry) {
	if e.flight == nil && e.run == nil && e.usage.users == 0 && m.vms[id] == e {
		delete(m.vms, id)
	}
}
