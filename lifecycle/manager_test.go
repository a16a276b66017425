package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/lifecycle"
	"github.com/coppice-vm/coppice/mem"
)

const (
	alice coppice.AccountID = "alice"
	bob   coppice.AccountID = "bob"
)

// A host is a host in memory, whose daemon can be replaced.
type host struct {
	t     *testing.T
	store *mem.Store
	pool  *mem.Pool
	hv    *mem.Hypervisor
	guest *guest
	net   *mem.Network
	gauge *mem.Gauge

	eviction lifecycle.Eviction
	boot     string
	again    bool // VMs are started again after the host's reboot
	spares   int
	husks    int
	vmm      string

	full  atomic.Bool  // the pool has no room for captures
	wires faultyWires  // instead of net
	wrote atomic.Int32 // changes of VMs' rows
	place place        // something else that is looked at
	lost  func(coppice.Trace) bool

	// What happens when a row is about to be changed (the how manieth time), a
	// capture is about to be whole and a process about to be discarded; nil is nothing.
	writing    atomic.Pointer[func(n int32)]
	committing atomic.Pointer[func() error]
	discarding atomic.Pointer[func() error]

	tracer lifecycle.Tracer // nil is none
	*lifecycle.Manager
}

func newHost(t *testing.T) *host {
	pool := mem.NewPool(coppice.Image{ID: "image", Disk: "images/image/disk.raw", DiskMiB: 1024})
	h := &host{t: t, store: mem.NewStore(), pool: pool, hv: mem.NewHypervisor(pool), net: mem.NewNetwork(), gauge: mem.NewGauge(), boot: "boot-1"}
	h.guest = &guest{hv: h.hv}
	h.wires.Network = h.net
	h.open()
	t.Cleanup(func() { h.leave(t.Context()) })
	return h
}

// open starts a daemon.
func (h *host) open() {
	h.t.Helper()
	m, err := lifecycle.Open(h.t.Context(), lifecycle.Config{
		Store: countingStore{h.store, h}, Captures: h.store, Quotas: h.store, History: h.store, Hypervisor: lossyHypervisor{h.hv, h}, Pool: cramped{h.pool, h}, Guest: h.guest,
		Gauge: h.gauge, Tracer: h.tracer, Budget: lifecycle.Budget{MemoryReserveMiB: 1024, MemoryOvercommit: 8, StorageReserveMiB: 512}, Eviction: h.eviction,
		Network: lossyNetwork{&h.wires, h}, Egress: coppice.EgressOpen, Places: []coppice.Inspector{&h.place},
		Log: slog.New(slog.NewTextHandler(h.t.Output(), nil)),
		VMM: h.vmm, Image: "image", Size: coppice.Size{VCPUs: 1, MemoryMiB: 1024, DiskMiB: 1024}, HostBoot: h.boot, StartAgain: h.again, KeepHistory: 24 * time.Hour, Spares: h.spares, Husks: h.husks,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.Manager = m
}

// leave ends the daemon at once, whatever it is doing, as a crash would.
func (h *host) leave(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	h.Close(ctx)
}

// create makes a VM of alice's.
func (h *host) create() coppice.VM {
	h.t.Helper()
	vm, err := h.Create(h.t.Context(), coppice.NewVM{Account: alice})
	if err != nil {
		h.t.Fatal(err)
	}
	if vm.State != coppice.Running || vm.Verb != coppice.Idle || vm.Instance == "" {
		h.t.Fatalf("a created VM is %+v", vm)
	}
	return vm
}

// must returns the VM that a call gave, which must not have failed.
func (h *host) must(vm coppice.VM, err error) coppice.VM {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	return vm
}

// await waits until a VM is idle in state.
func (h *host) await(id coppice.VMID, state coppice.State) coppice.VM {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Second)
	defer cancel()
	var vm coppice.VM
	for ctx.Err() == nil {
		var err error
		if vm, err = h.store.VM(ctx, id); err == nil && vm.State == state && vm.Verb == coppice.Idle {
			return vm
		}
		time.Sleep(time.Millisecond)
	}
	h.t.Fatalf("VM %s did not become %s: %+v", id, state, vm)
	return vm
}

// clean fails the test if the host holds anything but the VMs it should.
func (h *host) clean(want ...coppice.VMID) {
	h.t.Helper()
	slices.Sort(want)
	files, err := h.pool.VMs(h.t.Context())
	slices.Sort(files)
	if err != nil || !slices.Equal(files, want) {
		h.t.Errorf("the pool holds files of %v (%v), want %v", files, err, want)
	}
	runs, err := h.hv.Runs(h.t.Context())
	networks, netErr := h.net.Networks(h.t.Context())
	if err != nil || netErr != nil || !slices.Equal(networks, runs) {
		h.t.Errorf("there are networks of %v (%v), and runs of %v (%v)", networks, netErr, runs, err)
	}
	captures, err := h.pool.Captures(h.t.Context())
	rows, rowsErr := h.store.Captures(h.t.Context(), "")
	if err != nil || rowsErr != nil || len(captures) != len(rows) {
		h.t.Errorf("the pool holds captures %v (%v), the store knows %v (%v)", captures, err, rows, rowsErr)
	}
}

func code(err error) coppice.Code {
	if err == nil {
		return ""
	}
	return coppice.CodeOf(err)
}

// A guest is a [coppice.Guest] whose machines' agents are always there, and do
// as they are told unless stubborn or mute.
type guest struct {
	hv *mem.Hypervisor

	mu       sync.Mutex
	stubborn bool                    // does not shut down when asked
	mute     bool                    // does not answer
	fresh    []coppice.GuestIdentity // given to new runs
	clocks   []coppice.VMID          // that were set on their own
	// refuse, if not nil, fails those it has something against.
	refuse func(coppice.GuestIdentity) error
	// exec, if not nil, is what becomes of a command in a VM.
	exec func(coppice.VMID) error
}

func (g *guest) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

// identityOf returns the last identity that a VM was given.
func (g *guest) identityOf(id coppice.VMID) (last coppice.GuestIdentity) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, given := range g.fresh {
		if given.VM == id {
			last = given
		}
	}
	return last
}

func (g *guest) Connect(ctx context.Context, dial func(context.Context) (net.Conn, error), id coppice.GuestIdentity) (coppice.Session, error) {
	g.mu.Lock()
	mute := g.mute
	var err error
	if g.refuse != nil {
		err = g.refuse(id)
	}
	if id.Fresh {
		g.fresh = append(g.fresh, id)
	}
	g.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if mute {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &session{g: g, vm: id.VM}, nil
}

type session struct {
	coppice.GuestSockets // not there
	g                    *guest
	vm                   coppice.VMID
}

func (s *session) Exec(ctx context.Context, spec coppice.ExecSpec, stdio coppice.Stdio) (coppice.ExecStatus, error) {
	if stdio.Stdout != nil {
		io.WriteString(stdio.Stdout, string(s.vm))
	}
	s.g.mu.Lock()
	exec := s.g.exec
	s.g.mu.Unlock()
	if exec != nil {
		return coppice.ExecStatus{}, exec(s.vm)
	}
	return coppice.ExecStatus{}, ctx.Err()
}

func (s *session) SetClock(ctx context.Context) error {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	s.g.clocks = append(s.g.clocks, s.vm)
	return ctx.Err()
}

func (s *session) Shutdown(ctx context.Context) error {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if !s.g.stubborn {
		s.g.hv.End(s.vm, coppice.Exit{Kind: coppice.ExitPowerOff})
	}
	return nil
}

func (s *session) Files(user string) coppice.GuestFiles { return nil }

func (s *session) Terminals(string) coppice.GuestTerminals { return terminals{} }

// terminals are those of a guest in which there are two.
type terminals struct{ coppice.GuestTerminals }

func (terminals) Open(_ context.Context, spec coppice.TerminalSpec) (coppice.Terminal, error) {
	if spec.Most > 0 && spec.Most <= 2 {
		return nil, coppice.ErrTooMany
	}
	return nil, nil
}
func (s *session) Close() error { return nil }

// A VM from its creation to its deletion; what has been done already is done again
// without harm.
func TestLife(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	if vm.Size != (coppice.Size{VCPUs: 1, MemoryMiB: 1024, DiskMiB: 1024}) || vm.IdleTimeout != 5*time.Minute || vm.Persistence.Type != coppice.Sticky {
		t.Errorf("defaults: %+v", vm)
	}
	first := vm.Instance

	stopped := h.must(h.Stop(t.Context(), alice, vm.ID))
	if stopped.State != coppice.Stopped || stopped.Reason != "" || h.runs(vm.ID) {
		t.Errorf("stopped: %+v", stopped)
	}
	h.must(h.Stop(t.Context(), alice, vm.ID)) // again: nothing to do
	if err := h.use(vm.ID); code(err) != coppice.CodeVMNotRunning {
		t.Errorf("use of a stopped VM: %v", err)
	}

	never := time.Duration(0)
	started := h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{IdleTimeout: &never}))
	if started.State != coppice.Running || started.Instance == first || started.IdleTimeout != 0 {
		t.Errorf("started: %+v", started)
	}
	again := h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
	if again.Instance != started.Instance || again.IdleTimeout != 0 {
		t.Errorf("started twice: %+v", again)
	}
	h.must(h.Kill(t.Context(), alice, vm.ID))

	gone := h.must(h.Delete(t.Context(), alice, vm.ID))
	if !gone.Deleted() || gone.State != coppice.Absent {
		t.Errorf("deleted: %+v", gone)
	}
	h.must(h.Delete(t.Context(), alice, vm.ID)) // again: nothing to do
	if _, err := h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}); code(err) != coppice.CodeVMDeleted {
		t.Errorf("start of a deleted VM: %v", err)
	}
	h.clean()
}

// Every call tells another account's VM from none by nothing.
func TestAnotherAccountsVMDoesNotExist(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	ctx := t.Context()
	calls := map[string]func(coppice.AccountID, coppice.VMID) error{
		"get": func(a coppice.AccountID, id coppice.VMID) error { _, err := h.VM(ctx, a, id); return err },
		"start": func(a coppice.AccountID, id coppice.VMID) error {
			_, err := h.Start(ctx, a, id, coppice.StartOptions{})
			return err
		},
		"stop":    func(a coppice.AccountID, id coppice.VMID) error { _, err := h.Stop(ctx, a, id); return err },
		"kill":    func(a coppice.AccountID, id coppice.VMID) error { _, err := h.Kill(ctx, a, id); return err },
		"suspend": func(a coppice.AccountID, id coppice.VMID) error { _, err := h.Suspend(ctx, a, id); return err },
		"delete":  func(a coppice.AccountID, id coppice.VMID) error { _, err := h.Delete(ctx, a, id); return err },
		"await":   func(a coppice.AccountID, id coppice.VMID) error { _, err := h.Await(ctx, a, id); return err },
		"use":     func(a coppice.AccountID, id coppice.VMID) error { _, _, err := h.Use(ctx, a, id, "exec"); return err },
		"console": func(a coppice.AccountID, id coppice.VMID) error { _, err := h.Console(ctx, a, id); return err },
		"resize": func(a coppice.AccountID, id coppice.VMID) error {
			_, err := h.Resize(ctx, a, id, coppice.ResizeSpec{})
			return err
		},
		"fork": func(a coppice.AccountID, id coppice.VMID) error {
			_, err := h.Fork(ctx, a, id, coppice.ForkSpec{Count: 1})
			return err
		},
		"snapshot": func(a coppice.AccountID, id coppice.VMID) error {
			_, err := h.TakeSnapshot(ctx, a, id, "", coppice.Persistence{})
			return err
		},
	}
	for name, call := range calls {
		foreign, missing := call(bob, vm.ID), call(bob, "00000000000000000000")
		if code(foreign) != coppice.CodeVMNotFound || code(missing) != coppice.CodeVMNotFound {
			t.Errorf("%s: %v for a foreign VM, %v for a missing one", name, foreign, missing)
		}
	}
	if vms, err := h.VMs(ctx, bob, true); err != nil || len(vms) != 0 {
		t.Errorf("bob sees %v, %v", vms, err)
	}
	if vms, err := h.VMs(ctx, alice, true); err != nil || len(vms) != 1 {
		t.Errorf("alice sees %v, %v", vms, err)
	}
}

// What a guest does to itself leads to the state that fits it, says so, and is no
// dead end.
func TestFacts(t *testing.T) {
	for _, test := range []struct {
		exit   coppice.Exit
		state  coppice.State
		reason string
	}{
		{coppice.Exit{Kind: coppice.ExitPowerOff}, coppice.Stopped, "the guest powered itself off"},
		{coppice.Exit{Kind: coppice.ExitReboot}, coppice.Running, ""},
		{coppice.Exit{Kind: coppice.ExitPanic, Detail: "not syncing: oops"}, coppice.Failed, "the guest's kernel panicked: not syncing: oops"},
		{coppice.Exit{Kind: coppice.ExitCrash, Detail: "signal 9"}, coppice.Failed, "the run ended: signal 9"},
	} {
		t.Run(string(test.exit.Kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				vm := h.create()
				awaited := make(chan coppice.Exit, 1)
				go func() {
					exit, _ := h.Await(t.Context(), alice, vm.ID)
					awaited <- exit
				}()
				synctest.Wait()
				h.hv.End(vm.ID, test.exit)
				if exit := <-awaited; exit.Kind != test.exit.Kind {
					t.Errorf("await said %+v", exit)
				}
				after := h.await(vm.ID, test.state)
				if after.Reason != test.reason {
					t.Errorf("reason %q, want %q", after.Reason, test.reason)
				}
				if (after.Instance != vm.Instance) != (test.state == coppice.Running) {
					t.Errorf("instance %s after %s", after.Instance, vm.Instance)
				}
				// No state is a dead end.
				h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
				h.must(h.Delete(t.Context(), alice, vm.ID))
				h.clean()
			})
		})
	}
}

// crash has the process of a VM end, and whoever watches it notice.
func (h *host) crash(id coppice.VMID) {
	h.hv.End(id, coppice.Exit{Kind: coppice.ExitCrash, Detail: "signal 9"})
	time.Sleep(time.Millisecond)
}

// A run that ends when the guest is up and the row does not say so yet is followed
// up when it does.
func TestRunEndsBeforeItIsOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		vm := h.create()
		h.must(h.Suspend(t.Context(), alice, vm.ID))
		h.wrote.Store(0)
		h.writing.Store(new(func(n int32) {
			if n == 2 { // the first has taken the verb
				h.crash(vm.ID)
			}
		}))
		h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{})
		h.writing.Store(nil)
		h.await(vm.ID, coppice.Failed)
		h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
	})
}

// A suspend that fails when the guest is paused, and whose run has ended by then,
// is answered at once.
func TestRunEndsInASuspendThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		vm := h.create()
		h.committing.Store(new(func() error {
			h.crash(vm.ID)
			return io.ErrUnexpectedEOF
		}))
		began := time.Now()
		if _, err := h.Suspend(t.Context(), alice, vm.ID); err == nil || time.Since(began) > time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		h.await(vm.ID, coppice.Failed)
	})
}

// What a reboot that fails leaves of the run is removed, though nothing follows from
// the run's end any more.
func TestRebootFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		vm := h.create()
		var tried atomic.Bool
		h.discarding.Store(new(func() error {
			if tried.Swap(true) {
				return nil
			}
			return io.ErrUnexpectedEOF
		}))
		h.hv.End(vm.ID, coppice.Exit{Kind: coppice.ExitReboot})
		h.await(vm.ID, coppice.Stopped)
		time.Sleep(time.Second)
		if nets, err := h.net.Networks(t.Context()); err != nil || len(nets) > 0 {
			t.Errorf("there are networks: %v, %v", nets, err)
		}
		h.must(h.Delete(t.Context(), alice, vm.ID))
		h.clean()
	})
}

// A guest that does not shut down when asked is ended after the grace.
func TestStopInsists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		vm := h.create()
		h.guest.set(func() { h.guest.stubborn = true })
		began := time.Now()
		stopped := h.must(h.Stop(t.Context(), alice, vm.ID))
		if took := time.Since(began); took != time.Minute {
			t.Errorf("insisted after %v", took)
		}
		if stopped.State != coppice.Stopped || stopped.Reason == "" {
			t.Errorf("stopped: %+v", stopped)
		}
	})
}

// A guest that never answers is given up, and leaves no process.
func TestStartGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		vm := h.create()
		h.must(h.Stop(t.Context(), alice, vm.ID))
		h.guest.set(func() { h.guest.mute = true })
		if _, err := h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}); code(err) != coppice.CodeStartTimeout {
			t.Errorf("start of a mute guest: %v", err)
		}
		after := h.await(vm.ID, coppice.Stopped)
		if after.Reason == "" || h.runs(vm.ID) {
			t.Errorf("after a failed start: %+v, process %v", after, h.runs(vm.ID))
		}
	})
}

// A start does not wait for a guest that has panicked.
func TestStartEndsWithTheRun(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.must(h.Stop(t.Context(), alice, vm.ID))
	h.guest.set(func() { h.guest.mute = true })
	failed := make(chan error, 1)
	go func() {
		_, err := h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{})
		failed <- err
	}()
	h.awaitRun(vm.ID)
	h.hv.End(vm.ID, coppice.Exit{Kind: coppice.ExitPanic, Detail: "no init"})
	if err := <-failed; code(err) != coppice.CodeKernelPanic {
		t.Errorf("start of a guest that panics: %v", err)
	}
	h.await(vm.ID, coppice.Stopped)
}

// runs reports whether a VM has a process.
func (h *host) runs(id coppice.VMID) bool {
	runs, _ := h.hv.Runs(h.t.Context())
	return slices.Contains(runs, id)
}

// awaitRun waits until a VM has a process.
func (h *host) awaitRun(id coppice.VMID) {
	h.t.Helper()
	for end := time.Now().Add(10 * time.Second); !h.runs(id); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatal("the VM does not run")
		}
	}
}

// One verb at a time: the same is joined, another is refused by name, a delete
// goes first.
func TestOneVerbAtATime(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.must(h.Stop(t.Context(), alice, vm.ID))
	h.guest.set(func() { h.guest.mute = true })

	started := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{})
			started <- err
		}()
	}
	h.awaitRun(vm.ID)
	_, err := h.Stop(t.Context(), alice, vm.ID)
	var e *coppice.Error
	if !errors.As(err, &e) || e.Code != coppice.CodeConflict || e.Fields["verb"] != coppice.Start {
		t.Errorf("stop during start: %v", err)
	}
	h.must(h.Delete(t.Context(), alice, vm.ID))
	for range 2 {
		if err := <-started; code(err) != coppice.CodeConflict && code(err) != coppice.CodeVMDeleted { // it came too late
			t.Errorf("start cut short by a delete: %v", err)
		}
	}
	h.clean()
}

// Who starts a VM that is being started joins that start.
func TestFiftyStartsMakeOneRun(t *testing.T) {
	h := newHost(t)
	vm := h.create()
	h.must(h.Stop(t.Context(), alice, vm.ID))
	var mu sync.Mutex
	instances := map[coppice.InstanceID]bool{}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			vm := h.must(h.Start(t.Context(), alice, vm.ID, coppice.StartOptions{}))
			mu.Lock()
			defer mu.Unlock()
			instances[vm.Instance] = true
		})
	}
	wg.Wait()
	if len(instances) != 1 {
		t.Errorf("instances %v", instances)
	}
}

// A size that no VM can have is refused by the code of what is wrong with it first.
func TestSizes(t *testing.T) {
	h := newHost(t)
	for _, test := range []struct {
		size   coppice.Size
		code   coppice.Code
		fields string
	}{
		{coppice.Size{VCPUs: 3}, coppice.CodeVCPUNotPower, "map[got:3]"},
		{coppice.Size{VCPUs: 64}, coppice.CodeVCPURange, "map[got:64 max:32]"},
		{coppice.Size{VCPUs: -1}, coppice.CodeVCPURange, "map[got:-1 max:32]"},
		{coppice.Size{MemoryMiB: 1000}, coppice.CodeMemNotPower, "map[got:1000]"},
		{coppice.Size{MemoryMiB: 256}, coppice.CodeMemRange, "map[got:256 max:65536 min:512]"},
		{coppice.Size{MemoryMiB: 1 << 20}, coppice.CodeMemRange, "map[got:1048576 max:65536 min:512]"},
		{coppice.Size{DiskMiB: 100}, coppice.CodeRootfsRange, "map[got:100 max:1048576 min:1024]"},
		{coppice.Size{VCPUs: 3, MemoryMiB: 1000}, coppice.CodeVCPUNotPower, "map[got:3]"},
		{coppice.Size{VCPUs: 2, MemoryMiB: 2048, DiskMiB: 3000}, "", ""},
	} {
		vm, err := h.Create(t.Context(), coppice.NewVM{Account: alice, Size: test.size})
		var e *coppice.Error
		errors.As(err, &e)
		if code(err) != test.code || e != nil && fmt.Sprint(e.Fields) != test.fields {
			t.Errorf("%+v: %v %+v, want %s %s", test.size, err, e, test.code, test.fields)
		}
		if err == nil && vm.Size != test.size {
			t.Errorf("%+v became %+v", test.size, vm.Size)
		}
	}
}
