package ingress

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/mem"
)

const domain = "vm.localhost"

// fakeVMs keeps VMs as rows, whose ports are of this machine.
type fakeVMs struct {
	mu      sync.Mutex
	rows    map[coppice.VMID]coppice.VM
	ports   map[string]string // the address of what listens on a port of a VM
	uses    map[coppice.VMID]int
	touched map[coppice.VMID]int
	silent  map[coppice.VMID]int // how many wait for the network to answer
	waits   map[coppice.VMID]int // and how many for the VM to wake
	dialled int
	wakes   int
	// waking is received from before a VM wakes, if it is set.
	waking   chan struct{}
	wakeFail error
	changed  chan struct{} // closed and renewed when one of the counts changes
}

func newFakeVMs() *fakeVMs {
	return &fakeVMs{
		rows: map[coppice.VMID]coppice.VM{}, ports: map[string]string{}, changed: make(chan struct{}),
		uses: map[coppice.VMID]int{}, touched: map[coppice.VMID]int{}, silent: map[coppice.VMID]int{}, waits: map[coppice.VMID]int{},
	}
}

func (f *fakeVMs) note(counts map[coppice.VMID]int, id coppice.VMID, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts[id] += n
	close(f.changed)
	f.changed = make(chan struct{})
}

// await returns when what it counts of a VM is as wanted.
func (f *fakeVMs) await(t *testing.T, what string, counts map[coppice.VMID]int, id coppice.VMID, want func(int) bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		f.mu.Lock()
		n, changed := counts[id], f.changed
		f.mu.Unlock()
		if want(n) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s stays %d", what, n)
		}
	}
}

// set gives a VM a state, and another run if it is running.
func (f *fakeVMs) set(id coppice.VMID, state coppice.State) coppice.VMID {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id == "" {
		id = coppice.NewVMID()
	}
	vm := f.rows[id]
	vm.ID, vm.Account, vm.State = id, "alice", state
	if state == coppice.Running {
		vm.Instance = coppice.NewInstanceID()
	}
	if state == coppice.Absent {
		vm.DeletedAt = time.Now()
	}
	f.rows[id] = vm
	return id
}

// setPrivate makes a VM private, or public.
func (f *fakeVMs) setPrivate(id coppice.VMID, private bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	vm := f.rows[id]
	vm.Private = private
	f.rows[id] = vm
}

// listen has address listen on a port of a VM's loopback.
func (f *fakeVMs) listen(id coppice.VMID, port int, address string) {
	f.listenOn(id, "localhost", port, address)
}

// listenOn has address listen on a port of a VM's "localhost" or "network".
func (f *fakeVMs) listenOn(id coppice.VMID, where string, port int, address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ports[fmt.Sprintf("%s %s:%d", id, where, port)] = address
}

func (f *fakeVMs) VM(_ context.Context, id coppice.VMID) (coppice.VM, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	vm, ok := f.rows[id]
	if !ok {
		return vm, fmt.Errorf("read: %w", coppice.ErrNoVM)
	}
	return vm, nil
}

func (f *fakeVMs) Use(ctx context.Context, account coppice.AccountID, id coppice.VMID, _ string) (coppice.Session, func(), error) {
	vm, err := f.VM(ctx, id)
	switch {
	case err != nil || account != vm.Account:
		return nil, nil, coppice.NoVM(id)
	case vm.Deleted():
		return nil, nil, coppice.Errorf(coppice.CodeVMDeleted, "VM %s has been deleted", id)
	case vm.State == coppice.Suspended:
		if err := f.wake(ctx, id); err != nil {
			return nil, nil, err
		}
	case vm.State != coppice.Running:
		return nil, nil, coppice.Errorf(coppice.CodeVMNotRunning, "VM %s is %s: start it first", id, vm.State).With("vmId", id)
	}
	f.note(f.uses, id, 1)
	return &fakeSession{vms: f, vm: id}, sync.OnceFunc(func() { f.note(f.uses, id, -1) }), nil
}

func (f *fakeVMs) wake(ctx context.Context, id coppice.VMID) error {
	if f.waking != nil {
		f.note(f.waits, id, 1)
		defer f.note(f.waits, id, -1)
		select {
		case <-f.waking:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if f.wakeFail != nil {
		return f.wakeFail
	}
	f.set(id, coppice.Running)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wakes++
	return nil
}

func (f *fakeVMs) Touch(id coppice.VMID) { f.note(f.touched, id, 1) }

// silence is the address of what does not answer.
const silence = "silence"

// Dial connects to what listens on a VM's network, at a port of this machine's.
func (f *fakeVMs) Dial(ctx context.Context, id coppice.VMID, port uint16) (net.Conn, error) {
	f.mu.Lock()
	to := f.ports[fmt.Sprintf("%s network:%d", id, port)]
	f.mu.Unlock()
	if to == "" {
		return nil, fmt.Errorf("dial: %w", coppice.ErrRefused)
	}
	return f.connect(ctx, id, to)
}

// connect connects to an address, for a VM.
func (f *fakeVMs) connect(ctx context.Context, id coppice.VMID, to string) (net.Conn, error) {
	if to == silence {
		f.note(f.silent, id, 1)
		defer f.note(f.silent, id, -1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return new(net.Dialer).DialContext(ctx, "tcp", to)
}

// fakeSession is with a guest whose ports are this machine's.
type fakeSession struct {
	coppice.Session // the rest is not there
	vms             *fakeVMs
	vm              coppice.VMID
}

func (s *fakeSession) Dial(ctx context.Context, user, network, address string) (net.Conn, error) {
	s.vms.mu.Lock()
	to := s.vms.ports[string(s.vm)+" "+address]
	s.vms.dialled++
	s.vms.mu.Unlock()
	if to == "" || user != "" || network != "tcp" {
		return nil, fmt.Errorf("connect to %s: %w", address, syscall.ECONNREFUSED)
	}
	return s.vms.connect(ctx, s.vm, to)
}

// fakeAccess knows alice's keys and bob's, and tokens of alice's, each of which
// was granted a VM. What is not in it any more is revoked.
type fakeAccess struct {
	mu     sync.Mutex
	keys   map[string]coppice.AccountID
	tokens map[string]coppice.VMID
	visits map[string][]context.CancelCauseFunc

	visited chan struct{} // closed when somebody visits
}

func newFakeAccess() *fakeAccess {
	return &fakeAccess{
		keys: map[string]coppice.AccountID{"alice-key": "alice", "bob-key": "bob"}, tokens: map[string]coppice.VMID{},
		visits: map[string][]context.CancelCauseFunc{}, visited: make(chan struct{}),
	}
}

func (f *fakeAccess) ByKey(ctx context.Context, secret string, do func(context.Context, coppice.Principal)) error {
	f.mu.Lock()
	account, ok := f.keys[secret]
	f.mu.Unlock()
	if !ok {
		return coppice.ErrNoKey
	}
	f.visit(ctx, secret, coppice.Principal{Account: account}, do)
	return nil
}

func (f *fakeAccess) ByToken(ctx context.Context, secret string, vm coppice.VMID, do func(context.Context, coppice.Principal)) error {
	f.mu.Lock()
	granted, ok := f.tokens[secret]
	f.mu.Unlock()
	switch {
	case !ok:
		return coppice.ErrNoToken
	case vm != "" && vm != granted:
		return coppice.ErrNoGrant
	}
	f.visit(ctx, secret, coppice.Principal{Account: "alice", Identity: "i"}, do)
	return nil
}

func (f *fakeAccess) visit(ctx context.Context, secret string, who coppice.Principal, do func(context.Context, coppice.Principal)) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	f.mu.Lock()
	f.visits[secret] = append(f.visits[secret], end)
	close(f.visited)
	f.visited = make(chan struct{})
	f.mu.Unlock()
	do(ctx, who)
}

func (f *fakeAccess) revoke(secret string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.keys, secret)
	delete(f.tokens, secret)
	for _, end := range f.visits[secret] {
		end(coppice.ErrRevoked)
	}
}

// A harness is a server on a socket, and its VMs.
type harness struct {
	t      *testing.T
	vms    *fakeVMs
	access *fakeAccess
	names  *mem.Store
	server *Server
	addr   string
	client *http.Client // finds every name at the server
}

func newHarness(t *testing.T) *harness {
	h := &harness{t: t, vms: newFakeVMs(), access: newFakeAccess(), names: mem.NewStore()}
	sessions, err := OpenSessions(filepath.Join(t.TempDir(), "sessions.key"))
	if err != nil {
		t.Fatal(err)
	}
	h.server = New(Config{
		VMs: h.vms, Records: h.vms, Network: h.vms, Directory: &Directory{Domain: domain, Mappings: h.names},
		Access: h.access, Sessions: sessions, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(l) }()
	t.Cleanup(func() {
		h.client.CloseIdleConnections()
		h.server.Shutdown(context.Background())
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	h.client = &http.Client{Transport: h.transport(), Timeout: time.Minute}
	return h
}

// transport finds every name at the server.
func (h *harness) transport() *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", h.addr)
	}}
}

// serve has a handler listen on a port of a VM that runs, and returns the VM
// and its URL.
func (h *harness) serve(port int, handler http.HandlerFunc) (coppice.VMID, string) {
	h.t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	h.t.Cleanup(server.Close)
	id := h.vms.set("", coppice.Running)
	h.vms.listen(id, port, server.Listener.Addr().String())
	return id, h.url(id, port)
}

func (h *harness) url(id coppice.VMID, port int) string {
	return "http://" + Target{id, uint16(port)}.Name(domain)
}

// await returns when somebody visits by a secret.
func (f *fakeAccess) await(t *testing.T, secret string) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		f.mu.Lock()
		n, visited := len(f.visits[secret]), f.visited
		f.mu.Unlock()
		if n > 1 { // the first was to find out that it is known
			return
		}
		select {
		case <-visited:
		case <-late:
			t.Fatal("nobody visits")
		}
	}
}
