package sshgate

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account = coppice.AccountID("a")
	vmID    = coppice.VMID("aaaaaaaaaaaaaaaaaaaa")
	twinID  = coppice.VMID("bbbbbbbbbbbbbbbbbbbb")
	twin2ID = coppice.VMID("cccccccccccccccccccc")
)

// fakeAccess knows one key, and one token, which may be user in oak.
type fakeAccess struct {
	revoked context.Context
	known   string
}

func (a fakeAccess) ByKey(ctx context.Context, secret string, do func(context.Context, coppice.Principal)) error {
	if secret != "key" {
		return coppice.ErrNoKey
	}
	visit, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(a.revoked, func() { end(coppice.ErrRevoked) })()
	do(visit, coppice.Principal{Account: account})
	return nil
}

// The one SSH key that is known is the one whose fingerprint is in known.
func (a fakeAccess) ByPublicKey(ctx context.Context, fingerprint string, do func(context.Context, coppice.Principal)) error {
	if fingerprint != a.known {
		return coppice.ErrNoKey
	}
	return a.ByKey(ctx, "key", do)
}

func (fakeAccess) ByToken(ctx context.Context, secret string, vm coppice.VMID, do func(context.Context, coppice.Principal)) error {
	who := coppice.Principal{Account: account, Identity: "i"}
	switch {
	case secret != "token":
		return coppice.ErrNoToken
	case vm == vmID:
		who.Grant = &coppice.Grant{Identity: "i", VM: vm, Users: []string{"user"}}
	case vm != "":
		return coppice.ErrNoGrant
	}
	do(ctx, who)
	return nil
}

// fakeVMs are three, two of them of one name, with one guest.
type fakeVMs struct {
	guest coppice.Session

	mu      sync.Mutex
	state   coppice.State
	inUse   int
	used    int
	touched int
}

func (f *fakeVMs) VMs(context.Context, coppice.AccountID, bool) ([]coppice.VM, error) {
	return []coppice.VM{{ID: vmID, Name: "oak"}, {ID: twinID, Name: "twin"}, {ID: twin2ID, Name: "twin"}}, nil
}

func (f *fakeVMs) VM(ctx context.Context, of coppice.AccountID, id coppice.VMID) (coppice.VM, error) {
	all, _ := f.VMs(ctx, of, false)
	if i := slices.IndexFunc(all, func(vm coppice.VM) bool { return vm.ID == id }); i >= 0 && of == account {
		f.mu.Lock()
		defer f.mu.Unlock()
		all[i].State = f.state
		return all[i], nil
	}
	return coppice.VM{}, coppice.NoVM(id)
}

func (f *fakeVMs) Use(ctx context.Context, of coppice.AccountID, id coppice.VMID, _ string) (coppice.Session, func(), error) {
	if _, err := f.VM(ctx, of, id); err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == coppice.Stopped {
		return nil, nil, coppice.Errorf(coppice.CodeVMNotRunning, "VM %s is not running", id)
	}
	f.state = coppice.Running // it woke
	f.used++
	f.inUse++
	return f.guest, sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.inUse--
	}), nil
}

func (f *fakeVMs) set(state coppice.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = state
}

func (f *fakeVMs) Touch(coppice.VMID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.touched++
}

func (f *fakeVMs) counts() (used, inUse, touched int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used, f.inUse, f.touched
}

// A gate is a gateway that serves a guest in memory.
type gate struct {
	*Gateway
	t      *testing.T
	vms    *fakeVMs
	addr   string
	revoke context.CancelFunc

	mu  sync.Mutex
	far net.Conn // the guest's end of its connection
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{t: t}
	session, err := mem.NewGuest(nil).Connect(t.Context(), g.dialGuest, coppice.GuestIdentity{VM: vmID})
	must(t, err)
	t.Cleanup(func() {
		all, _ := session.Terminals("").List(context.Background())
		for _, info := range all {
			session.Terminals("").Close(context.Background(), info.ID)
		}
		session.Close()
		g.cut()
	})
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	key, err := ssh.NewSignerFromKey(private)
	must(t, err)
	revoked, revoke := context.WithCancel(context.Background())
	t.Cleanup(revoke)
	g.vms, g.revoke = &fakeVMs{guest: session}, revoke
	g.Gateway = New(Config{VMs: g.vms, Access: fakeAccess{revoked, ssh.FingerprintSHA256(sshKey(t, 1).PublicKey())}, HostKey: key, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	g.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		must(t, g.Shutdown(ctx))
		must(t, <-served)
	})
	return g
}

// sshKey returns the nth of some SSH keys.
func sshKey(t *testing.T, n byte) ssh.Signer {
	t.Helper()
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
	must(t, err)
	return key
}

// dialGuest connects to the guest, and cut cuts the connection.
func (g *gate) dialGuest(context.Context) (near net.Conn, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	near, g.far = net.Pipe()
	return near, nil
}

func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.far.Close()
}

// patience is how long a test waits for what does not come.
const patience = time.Minute

// dial logs in. The connection breaks when a test has lost its patience.
func (g *gate) dial(user string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	raw, err := net.Dial("tcp", g.addr)
	if err != nil {
		return nil, err
	}
	if err := raw.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	conn, channels, requests, err := ssh.NewClientConn(raw, g.addr, &ssh.ClientConfig{User: user, Auth: auth, HostKeyCallback: ssh.FixedHostKey(g.HostKey.PublicKey())})
	if err != nil {
		raw.Close()
		return nil, err
	}
	return ssh.NewClient(conn, channels, requests), nil
}

// client logs in, which must work.
func (g *gate) client(user, password string) *ssh.Client {
	g.t.Helper()
	c, err := g.dial(user, ssh.Password(password))
	must(g.t, err)
	g.t.Cleanup(func() { c.Close() })
	return c
}

func (g *gate) session(user, password string) *ssh.Session {
	g.t.Helper()
	s, err := g.client(user, password).NewSession()
	must(g.t, err)
	return s
}

// await waits until something is so that nobody tells of.
func (g *gate) await(what string, so func() bool) {
	g.t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-late:
			g.t.Fatalf("never %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
