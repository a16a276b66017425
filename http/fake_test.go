package http

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/mem"
)

const (
	alice = coppice.AccountID("00000000-0000-4000-8000-00000000000a")
	bob   = coppice.AccountID("00000000-0000-4000-8000-00000000000b")
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// people knows alice's and bob's keys. Of these only alice's manages accounts.
// Whoever looks up the secret "broken" finds the disk broken.
type people struct{ *mem.Store }

func newPeople() people {
	p := people{mem.NewStore()}
	for account, key := range map[coppice.AccountID]string{alice: "alice-key", bob: "bob-key"} {
		// With a context that does not end these cannot fail.
		_ = p.InsertAccount(context.Background(), coppice.Account{ID: account, CreatedAt: began})
		_ = p.InsertKey(context.Background(), coppice.APIKey{
			ID: coppice.KeyID(key), Hash: sha256.Sum256([]byte(key)), Account: account, Admin: account == alice, CreatedAt: began,
		})
	}
	return p
}

func (p people) KeyByHash(ctx context.Context, hash coppice.SecretHash) (coppice.APIKey, error) {
	if hash == sha256.Sum256([]byte("broken")) {
		return coppice.APIKey{}, errors.New("disk I/O error at /secret/path")
	}
	return p.Store.KeyByHash(ctx, hash)
}

// identity makes an identity of an account's, with a token whose secret is the
// identity's id, and grants.
func (p people) identity(account coppice.AccountID, id coppice.IdentityID) {
	_ = p.InsertIdentity(context.Background(), coppice.Identity{ID: id, Account: account, CreatedAt: began})
	_ = p.InsertToken(context.Background(), coppice.Token{
		ID: coppice.TokenID(id), Hash: sha256.Sum256([]byte(id)), Identity: id, CreatedAt: began,
	})
}

// grant gives an identity a grant, for all users if none is named.
func (p people) grant(id coppice.IdentityID, vm coppice.VMID, users ...string) {
	_ = p.InsertGrant(context.Background(), coppice.Grant{ID: coppice.NewGrantID(), Identity: id, VM: vm, Users: users, GrantedAt: began})
}

// fakeVMs keeps VMs as rows, and gives all of them one guest.
type fakeVMs struct {
	mu      sync.Mutex
	rows    map[coppice.VMID]coppice.VM
	created coppice.NewVM // by the last Create
	started coppice.StartOptions
	forked  coppice.ForkSpec
	resized coppice.ResizeSpec
	traffic coppice.Traffic
	stats   coppice.Stats // but for the VM
	limits  coppice.Limits
	usage   coppice.Usage
	// forkErrors are what the first forks fail with; nil ones do not.
	forkErrors []error
	captures   map[coppice.CaptureID]coppice.Capture
	tree       []coppice.Branch
	audit      []coppice.Discrepancy
	guest      coppice.Session
	exits      chan coppice.Exit
	uses       []string // what for, one after the other
	inUse      int      // of them that have not ended
	history    []coppice.Event
	news       chan struct{}
	touched    int
	// awaiting has something for every Await that waits.
	awaiting chan struct{}
	// fail is what every method returns, if it is set.
	fail  error
	panic bool
}

func newFakeVMs(dir string) *fakeVMs {
	terminals := sync.OnceValue(func() coppice.Session {
		session, _ := memSession(mem.NewGuest(func(coppice.VMID) {}))
		return session
	})
	return &fakeVMs{
		rows:     map[coppice.VMID]coppice.VM{},
		captures: map[coppice.CaptureID]coppice.Capture{},
		guest:    &fakeGuest{dir: dir, terminals: terminals},
		exits:    make(chan coppice.Exit, 1),
		awaiting: make(chan struct{}, 10),
		news:     make(chan struct{}),
	}
}

func (f *fakeVMs) add(vm coppice.VM) coppice.VMID {
	f.mu.Lock()
	defer f.mu.Unlock()
	if vm.ID == "" {
		vm.ID = coppice.NewVMID()
	}
	if vm.Account == "" {
		vm.Account = alice
	}
	if vm.State == "" {
		vm.State = coppice.Running
	}
	if vm.Persistence.Type == "" {
		vm.Persistence = coppice.Persistence{Type: coppice.Sticky, Priority: 5}
	}
	vm.Instance = coppice.NewInstanceID()
	vm.CreatedAt = began.Add(time.Duration(len(f.rows)) * time.Second)
	f.rows[vm.ID] = vm
	return vm.ID
}

func (f *fakeVMs) change(account coppice.AccountID, id coppice.VMID, to coppice.State) (coppice.VM, error) {
	vm, err := f.VM(context.Background(), account, id)
	if err != nil {
		return vm, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	vm.State = to
	if to == coppice.Absent {
		vm.DeletedAt = time.Now()
	}
	f.rows[id] = vm
	f.tell()
	return vm, nil
}

func (f *fakeVMs) Create(_ context.Context, spec coppice.NewVM) (coppice.VM, error) {
	if f.panic {
		panic("create went mad")
	}
	if f.fail != nil {
		return coppice.VM{}, f.fail
	}
	f.created = spec
	id := f.add(coppice.VM{Account: spec.Account, Name: spec.Name, Size: spec.Size, Snapshot: spec.Snapshot})
	return f.VM(context.Background(), spec.Account, id)
}

func (f *fakeVMs) VM(_ context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return coppice.VM{}, f.fail
	}
	vm, ok := f.rows[id]
	if !ok || vm.Account != account {
		return coppice.VM{}, coppice.Errorf(coppice.CodeVMNotFound, "there is no VM %s", id).With("vmId", id)
	}
	if vm.Deleted() {
		return coppice.VM{}, coppice.Errorf(coppice.CodeVMDeleted, "VM %s has been deleted", id)
	}
	return vm, nil
}

func (f *fakeVMs) VMs(_ context.Context, account coppice.AccountID, deleted bool) ([]coppice.VM, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	var vms []coppice.VM
	for _, vm := range f.rows {
		if vm.Account == account && (deleted || !vm.Deleted()) {
			vms = append(vms, vm)
		}
	}
	slices.SortFunc(vms, func(a, b coppice.VM) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return vms, nil
}

func (f *fakeVMs) Host(context.Context) (coppice.Host, error) {
	return coppice.Host{Capacity: coppice.Capacity{MemoryMiB: 8192, FreeMemoryMiB: 4096}, VMM: "QEMU", Running: 2}, f.fail
}

func (f *fakeVMs) Ways() []coppice.Way {
	return []coppice.Way{
		{Ask: "start", From: coppice.Failed, Works: coppice.Running, Fails: coppice.Stopped},
		{Ask: "delete", From: coppice.Stopped, Works: coppice.Absent, Fails: coppice.Failed},
	}
}

func (f *fakeVMs) Start(_ context.Context, account coppice.AccountID, id coppice.VMID, opts coppice.StartOptions) (coppice.VM, error) {
	f.started = opts
	return f.change(account, id, coppice.Running)
}

func (f *fakeVMs) Stop(_ context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error) {
	return f.change(account, id, coppice.Stopped)
}

func (f *fakeVMs) Kill(_ context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error) {
	return f.change(account, id, coppice.Stopped)
}

func (f *fakeVMs) Delete(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error) {
	if err := ctx.Err(); err != nil {
		return coppice.VM{}, err
	}
	return f.change(account, id, coppice.Absent)
}

func (f *fakeVMs) Suspend(_ context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, error) {
	vm, err := f.change(account, id, coppice.Suspended)
	vm.Base = coppice.NewCaptureID()
	return vm, err
}

func (f *fakeVMs) Resize(ctx context.Context, account coppice.AccountID, id coppice.VMID, spec coppice.ResizeSpec) (coppice.VM, error) {
	f.resized = spec
	return f.VM(ctx, account, id)
}

func (f *fakeVMs) Link(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.Link, error) {
	vm, err := f.VM(ctx, account, id)
	return coppice.Link{Egress: vm.Egress.Or(coppice.EgressClosed), Default: vm.Egress == "", Traffic: f.traffic}, err
}

func (f *fakeVMs) SetEgress(ctx context.Context, account coppice.AccountID, id coppice.VMID, egress coppice.Egress) (coppice.Link, error) {
	if _, err := f.VM(ctx, account, id); err != nil {
		return coppice.Link{}, err
	}
	f.mu.Lock()
	vm := f.rows[id]
	vm.Egress = egress
	f.rows[id] = vm
	f.mu.Unlock()
	return f.Link(ctx, account, id)
}

func (f *fakeVMs) SetPrivate(ctx context.Context, account coppice.AccountID, id coppice.VMID, private bool) (coppice.VM, error) {
	if _, err := f.VM(ctx, account, id); err != nil {
		return coppice.VM{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	vm := f.rows[id]
	vm.Private = private
	f.rows[id] = vm
	return vm, nil
}

func (f *fakeVMs) Fork(ctx context.Context, account coppice.AccountID, id coppice.VMID, spec coppice.ForkSpec) ([]coppice.Fork, error) {
	parent, err := f.VM(ctx, account, id)
	if err != nil {
		return nil, err
	}
	f.forked = spec
	forks := make([]coppice.Fork, spec.Count)
	for i := range forks {
		if i < len(f.forkErrors) && f.forkErrors[i] != nil {
			forks[i].Err = f.forkErrors[i]
			continue
		}
		child := f.add(coppice.VM{Account: account, Parent: parent.ID})
		forks[i].VM, _ = f.VM(ctx, account, child)
	}
	return forks, nil
}

func (f *fakeVMs) Optimize(ctx context.Context, account coppice.AccountID, id coppice.VMID) (string, error) {
	_, err := f.VM(ctx, account, id)
	return "nothing to do", err
}

func (f *fakeVMs) TakeSnapshot(ctx context.Context, account coppice.AccountID, id coppice.VMID, name string, persistence coppice.Persistence) (coppice.Capture, error) {
	vm, err := f.VM(ctx, account, id)
	if err != nil {
		return coppice.Capture{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if persistence.Type == "" {
		persistence = coppice.Persistence{Type: coppice.Sticky, Priority: 5}
	}
	c := coppice.Capture{
		ID: coppice.NewCaptureID(), Account: account, Name: name, Source: vm.ID, Instance: vm.Instance, Size: vm.Size,
		Live: true, Keep: true, Persistence: persistence, CreatedAt: began.Add(time.Duration(len(f.captures)) * time.Second),
	}
	f.captures[c.ID] = c
	return c, nil
}

func (f *fakeVMs) Snapshots(_ context.Context, account coppice.AccountID) ([]coppice.Capture, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	var all []coppice.Capture
	for _, c := range f.captures {
		if c.Account == account {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b coppice.Capture) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return all, nil
}

func (f *fakeVMs) Snapshot(_ context.Context, account coppice.AccountID, id coppice.CaptureID) (coppice.Capture, error) {
	return f.changeSnapshot(account, id, func(*coppice.Capture) {})
}

func (f *fakeVMs) RenameSnapshot(_ context.Context, account coppice.AccountID, id coppice.CaptureID, name string) (coppice.Capture, error) {
	return f.changeSnapshot(account, id, func(c *coppice.Capture) { c.Name = name })
}

func (f *fakeVMs) DeleteSnapshot(_ context.Context, account coppice.AccountID, id coppice.CaptureID) error {
	_, err := f.changeSnapshot(account, id, func(c *coppice.Capture) { c.Keep, c.DeletedAt = false, began })
	return err
}

func (f *fakeVMs) changeSnapshot(account coppice.AccountID, id coppice.CaptureID, change func(*coppice.Capture)) (coppice.Capture, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.captures[id]
	if !ok || c.Account != account || !c.Keep {
		return coppice.Capture{}, coppice.Errorf(coppice.CodeSnapshotNotFound, "there is no snapshot %s", id).With("snapshotId", id)
	}
	change(&c)
	f.captures[id] = c
	return c, nil
}

func (f *fakeVMs) Limits(context.Context, coppice.AccountID) (coppice.Limits, coppice.Usage, error) {
	return f.limits, f.usage, f.fail
}

func (f *fakeVMs) Audit(_ context.Context, repair bool) ([]coppice.Discrepancy, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.audit {
		f.audit[i].Repaired = repair && f.audit[i].Repairable
	}
	return f.audit, f.fail
}

func (f *fakeVMs) Stats(ctx context.Context, account coppice.AccountID, id coppice.VMID) (stats coppice.Stats, err error) {
	stats = f.stats
	stats.VM, err = f.VM(ctx, account, id)
	return stats, err
}

func (f *fakeVMs) Tree(context.Context, coppice.AccountID) ([]coppice.Branch, error) {
	return f.tree, f.fail
}

func (f *fakeVMs) Await(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.Exit, error) {
	if _, err := f.VM(ctx, account, id); err != nil {
		return coppice.Exit{}, err
	}
	f.awaiting <- struct{}{}
	select {
	case exit := <-f.exits:
		return exit, nil
	case <-ctx.Done():
		return coppice.Exit{}, ctx.Err()
	}
}

func (f *fakeVMs) Use(ctx context.Context, account coppice.AccountID, id coppice.VMID, by string) (coppice.Session, func(), error) {
	vm, err := f.VM(ctx, account, id)
	if err != nil {
		return nil, nil, err
	}
	if vm.State != coppice.Running {
		return nil, nil, coppice.Errorf(coppice.CodeVMNotRunning, "VM %s is %s", id, vm.State).With("vmId", id)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inUse++
	f.uses = append(f.uses, by)
	return f.guest, sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.inUse--
	}), nil
}

// happen adds an event, and says so.
func (f *fakeVMs) happen(e coppice.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.Seq, e.Account = int64(len(f.history)+1), f.rows[e.VM].Account
	f.history = append(f.history, e)
	f.tell()
}

// tell wakes all who wait for news. The caller holds f.mu.
func (f *fakeVMs) tell() {
	close(f.news)
	f.news = make(chan struct{})
}

func (f *fakeVMs) VMHistory(ctx context.Context, account coppice.AccountID, id coppice.VMID, after int64) (events []coppice.Event, err error) {
	if _, err := f.VM(ctx, account, id); err != nil {
		return nil, err
	}
	all, err := f.Events(ctx, account, after)
	for _, e := range all {
		if e.VM == id {
			events = append(events, e)
		}
	}
	return events, err
}

func (f *fakeVMs) Events(_ context.Context, account coppice.AccountID, after int64) (events []coppice.Event, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.history {
		if e.Account == account && e.Seq > after {
			events = append(events, e)
		}
	}
	return events, f.fail
}

func (f *fakeVMs) LastEvent(ctx context.Context, account coppice.AccountID) (int64, error) {
	events, err := f.Events(ctx, account, 0)
	if len(events) == 0 {
		return 0, err
	}
	return events[len(events)-1].Seq, err
}

func (f *fakeVMs) News() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.news
}

func (f *fakeVMs) Touch(coppice.VMID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.touched++
}

func (f *fakeVMs) Console(ctx context.Context, account coppice.AccountID, id coppice.VMID) ([]byte, error) {
	if _, err := f.VM(ctx, account, id); err != nil {
		return nil, err
	}
	return []byte("[    0.000000] Linux \xff\r\n"), nil
}

// fakeGuest is the test's own machine, with dir as its root and as everyone's home.
type fakeGuest struct {
	terminals            func() coppice.Session // with a guest in memory
	coppice.GuestSockets                        // Listen is not there
	dir                  string
	spec                 coppice.ExecSpec // of the last Exec
}

func known(user string) error {
	if user != "" && user != "root" && user != "bob" {
		return coppice.ErrNoUser
	}
	return nil
}

func (g *fakeGuest) Dial(ctx context.Context, user, network, address string) (net.Conn, error) {
	if err := known(user); err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (g *fakeGuest) Exec(ctx context.Context, spec coppice.ExecSpec, stdio coppice.Stdio) (coppice.ExecStatus, error) {
	g.spec = spec
	if err := known(spec.User); err != nil {
		return coppice.ExecStatus{}, err
	}
	limited := ctx
	if spec.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, spec.Timeout)
		defer cancel()
	}
	cmd := exec.CommandContext(limited, "sh", "-c", spec.Command)
	cmd.Dir = cmp.Or(spec.Dir, g.dir)
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.Env = append(cmd.Env, "USER="+spec.User)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Stdout, cmd.Stderr = stdio.Stdout, stdio.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return coppice.ExecStatus{}, err
	}
	go func() {
		if stdio.Stdin != nil {
			io.Copy(in, stdio.Stdin)
		}
		in.Close()
	}()
	if err := cmd.Start(); errors.Is(err, syscall.E2BIG) {
		return coppice.ExecStatus{}, fs.ErrInvalid // as a guest says it
	} else if err != nil {
		return coppice.ExecStatus{}, err
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return coppice.ExecStatus{}, ctx.Err()
	case limited.Err() != nil:
		return coppice.ExecStatus{Code: 124, TimedOut: true}, nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return coppice.ExecStatus{Code: 128 + int(ws.Signal())}, nil
		}
		return coppice.ExecStatus{Code: exit.ExitCode()}, nil
	}
	return coppice.ExecStatus{}, err
}

func (g *fakeGuest) SetClock(context.Context) error { return nil }
func (g *fakeGuest) Shutdown(context.Context) error { return nil }
func (g *fakeGuest) Close() error                   { return nil }

func (g *fakeGuest) Files(user string) coppice.GuestFiles { return fakeFiles{g.dir, user} }

func (g *fakeGuest) Terminals(user string) coppice.GuestTerminals {
	return g.terminals().Terminals(user)
}

// memSession returns a session with a guest in memory, as one that has just been
// connected to; it breaks when near is closed.
func memSession(guest *mem.Guest) (session coppice.Session, near net.Conn) {
	near, far := net.Pipe()
	session, err := guest.Connect(context.Background(), func(context.Context) (net.Conn, error) { return far, nil }, coppice.GuestIdentity{VM: "terminals"})
	if err != nil {
		panic(err)
	}
	return session, near
}

// endTerminals ends what a guest in memory runs.
func endTerminals(guest coppice.Session) {
	fake, ok := guest.(*fakeGuest)
	if !ok {
		return
	}
	session := fake.terminals()
	defer session.Close()
	terminals := session.Terminals("")
	all, _ := terminals.List(context.Background())
	for _, info := range all {
		terminals.Close(context.Background(), info.ID)
	}
}

type fakeFiles struct{ dir, user string }

// path maps names of the guest: "/x" and "x" are both below dir, and ".." is
// told by its name.
func (f fakeFiles) path(name string) string { return filepath.Join(f.dir, filepath.Join("/", name)) }

func (f fakeFiles) Open(_ context.Context, name string) (coppice.GuestFile, error) {
	if err := known(f.user); err != nil {
		return coppice.GuestFile{}, err
	}
	if name == ".." {
		return coppice.GuestFile{Dir: true, Mode: 0o755, Entries: []coppice.DirEntry{{Name: "parent"}}}, nil
	}
	info, err := os.Stat(f.path(name))
	if errors.Is(err, syscall.ENAMETOOLONG) {
		err = fs.ErrInvalid // as a guest says it
	}
	if err != nil {
		return coppice.GuestFile{}, err
	}
	if !info.IsDir() {
		content, err := os.Open(f.path(name))
		return coppice.GuestFile{Mode: info.Mode().Perm(), Size: info.Size(), Content: content}, err
	}
	entries, err := os.ReadDir(f.path(name))
	out := coppice.GuestFile{Dir: true, Mode: info.Mode().Perm()}
	for _, e := range entries {
		out.Entries = append(out.Entries, coppice.DirEntry{Name: e.Name(), Dir: e.IsDir()})
	}
	return out, err
}

func (f fakeFiles) Write(_ context.Context, name string, mode fs.FileMode, r io.Reader) error {
	path := f.path(name)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return &fs.PathError{Op: "write", Path: name, Err: fs.ErrInvalid}
	}
	if name == "/readonly" {
		return &fs.PathError{Op: "write", Path: name, Err: fs.ErrPermission}
	}
	tmp, err := os.CreateTemp(f.dir, ".part-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	// As a guest would, it forgets what exactly was wrong with r.
	if _, err := io.Copy(tmp, r); err != nil {
		return errors.New("the transfer broke off")
	}
	if err := errors.Join(tmp.Chmod(mode), os.MkdirAll(filepath.Dir(path), 0o755)); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

func (f fakeFiles) Watch(ctx context.Context, dir string, event func(coppice.FileEvent)) error {
	event(coppice.FileEvent{Type: "create", Name: "a.txt"})
	event(coppice.FileEvent{Type: "delete", Name: "ü b"})
	<-ctx.Done()
	return ctx.Err()
}

// A syncBuffer may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
