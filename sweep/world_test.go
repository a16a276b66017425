//go:build failpoints

package sweep_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/examguest"
	"github.com/coppice-vm/coppice/internal/failpoint"
	"github.com/coppice-vm/coppice/internal/failports"
	"github.com/coppice-vm/coppice/internal/reflink"
	"github.com/coppice-vm/coppice/internal/reflink/reflinktest"
	"github.com/coppice-vm/coppice/lifecycle"
	"github.com/coppice-vm/coppice/mem"
	"github.com/coppice-vm/coppice/pool"
	"github.com/coppice-vm/coppice/sqlite"
)

const (
	alice coppice.AccountID = "alice"
	image coppice.ImageID   = "image"

	// patience is how long anything may take that is waited for.
	patience = 30 * time.Second
)

var defaultSize = coppice.Size{VCPUs: 1, MemoryMiB: 512, DiskMiB: 1}

// faults are what befalls a daemon.
type faults = map[failpoint.Passage]failpoint.Fault

// A world is a host: what a daemon finds there, and the daemon.
type world struct {
	dir    string
	db     *sqlite.DB
	hv     *mem.Hypervisor
	net    *mem.Network
	gauge  *mem.Gauge
	stocks int // of spares, and of husks
	boots  int // of the host, since its first
	log    *lockedBuffer

	startAgain bool        // VMs that ran when the host was rebooted
	crashed    atomic.Bool // a VM's process has, which nobody meant to

	files  *pool.Pool
	life   *failpoint.Life
	config lifecycle.Config // without points
	*lifecycle.Manager
}

// A cradle is a host's files as every world begins with them: an image, and a
// template of the default size.
type cradle struct{ dir string }

func newCradle(t testing.TB) *cradle {
	t.Helper()
	c := &cradle{reflinktest.Dir(t)}
	w, err := c.world(0)
	if err != nil {
		t.Fatal(err)
	}
	install := func(dir string) (coppice.Image, error) {
		for _, name := range []string{"disk.raw", "vmlinux", "initrd"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("of the image"), 0o600); err != nil {
				return coppice.Image{}, err
			}
		}
		return coppice.Image{Disk: "disk.raw", DiskMiB: 1, Kernel: "vmlinux", Initrd: "initrd"}, nil
	}
	if _, err := w.files.InstallImage(t.Context(), image, install); err != nil {
		t.Fatal(err)
	}
	account := coppice.Account{ID: alice, Name: "Alice", CreatedAt: time.Now()}
	if err := w.db.InsertAccount(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Template(t.Context(), defaultSize); err != nil {
		t.Fatal(err)
	}
	w.leave()
	if err := errors.Join(w.db.Close(), os.Rename(w.dir, c.origin())); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cradle) origin() string { return filepath.Join(c.dir, "origin") }

// world returns a new world with a daemon that has as many spares and husks.
func (c *cradle) world(stocks int) (*world, error) {
	dir, err := os.MkdirTemp(c.dir, "world-")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(c.origin()); err == nil {
		if err := cloneTree(dir, c.origin()); err != nil {
			return nil, err
		}
	} else if err := os.Mkdir(filepath.Join(dir, "pool"), 0o700); err != nil {
		return nil, err
	}
	db, err := sqlite.Open(context.Background(), filepath.Join(dir, "coppice.db"))
	if err != nil {
		return nil, err
	}
	w := &world{
		dir: dir, db: db, hv: mem.NewHypervisor(hostFiles{}), net: mem.NewNetwork(), gauge: mem.NewGauge(),
		stocks: stocks, log: &lockedBuffer{},
	}
	if err := w.open(nil); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return w, nil
}

// cloneTree makes dst a copy of a directory.
func cloneTree(dst, src string) error {
	return filepath.WalkDir(src, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dst, strings.TrimPrefix(name, src))
		if entry.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		return reflink.Clone(to, name)
	})
}

// open starts a daemon, whose life has those faults.
func (w *world) open(faults faults) error {
	return w.openWith(func(l *failpoint.Life) { l.Begin(faults) })
}

// openWith starts a daemon, whose life begins so.
func (w *world) openWith(begin func(*failpoint.Life)) error {
	log := slog.New(slog.NewTextHandler(w.log, nil))
	var err error
	if w.files, err = pool.Open(filepath.Join(w.dir, "pool"), log); err != nil {
		return err
	}
	w.hv, w.net = w.hv.Reopen(), w.net.Reopen()
	w.life = failpoint.NewLife()
	begin(w.life)
	w.config = lifecycle.Config{
		Store: w.db, Captures: w.db, Quotas: w.db, History: w.db, Hypervisor: w.hv, Pool: w.files, Network: w.net, Guest: guest{}, Gauge: w.gauge,
		Egress: coppice.EgressOpen, Eviction: lifecycle.Eviction{BelowMiB: 1000, UntilMiB: 2000}, Budget: lifecycle.Budget{StorageReserveMiB: 10},
		Log: log, VMM: "twin", Image: image, Size: defaultSize, Spares: w.stocks, Husks: w.stocks, HostBoot: fmt.Sprintf("boot %d", w.boots), StartAgain: w.startAgain, KeepHistory: time.Hour,
		Pace: lifecycle.Pace{Evict: 200 * time.Millisecond, Stock: 20 * time.Millisecond, Drop: time.Second},
	}
	guarded := w.config
	guarded.Store, guarded.Captures = failports.Store(w.life, w.db), failports.Captures(w.life, w.db)
	guarded.Hypervisor, guarded.Pool = failports.Hypervisor(w.life, w.hv), failports.Pool(w.life, w.files)
	guarded.Network, guarded.Guest = failports.Network(w.life, w.net), failports.Guest(w.life, guest{})
	guarded.Gauge = failports.Gauge(w.life, w.gauge)
	w.Manager, err = lifecycle.Open(context.Background(), guarded)
	if err != nil {
		w.files.Close()
	}
	return err
}

// leave has the daemon leave, which may take its time.
func (w *world) leave() {
	if w.Manager == nil {
		return
	}
	ctx, cancel := w.alive(context.Background())
	defer cancel()
	w.Close(ctx)
	for w.life.Busy() {
		time.Sleep(time.Millisecond)
	}
	w.files.Close()
	w.Manager = nil
}

// alive returns a context that ends when the daemon dies, and when patience does.
func (w *world) alive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	dead := w.life.Dead()
	go func() {
		select {
		case <-dead:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// end ends the world.
func (w *world) end() {
	w.leave()
	w.db.Close()
	os.RemoveAll(w.dir)
}

// quiet waits until the daemon has done nothing for a while.
func (w *world) quiet() {
	const still = 5 * time.Millisecond
	for passed, since := -1, time.Now(); time.Since(since) < still; time.Sleep(still / 10) {
		if n := len(w.life.Trail()); n != passed || w.life.Busy() {
			passed, since = n, time.Now()
		}
	}
}

// hostFiles are files of the host, of which only the beginning is used.
type hostFiles struct{}

const used = 4096 // bytes, a block

func (hostFiles) WriteFile(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(append(content, make([]byte, used-len(content))...), 0)
	return err
}

func (hostFiles) ReadFile(name string) ([]byte, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	start, err := io.ReadAll(io.LimitReader(f, used))
	return bytes.TrimRight(start, "\x00"), info.Size(), err
}

// A guest is a [coppice.Guest] whose agents execute where the machine does: they
// pass on what a command asks of package examguest's program.
type guest struct{}

func (guest) Connect(ctx context.Context, dial func(context.Context) (net.Conn, error), _ coppice.GuestIdentity) (coppice.Session, error) {
	s := session{dial: dial}
	_, err := s.ask(ctx, "kept", "")
	return s, err
}

type session struct {
	coppice.Session
	dial func(context.Context) (net.Conn, error)
}

func (s session) ask(ctx context.Context, verb, arg string) (string, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return examguest.Ask(ctx, conn, verb, arg)
}

func (s session) Exec(ctx context.Context, spec coppice.ExecSpec, stdio coppice.Stdio) (coppice.ExecStatus, error) {
	verb, arg, _ := strings.Cut(spec.Command, " ")
	switch verb {
	case "keep", "kept", "write", "read":
	default:
		verb = "kept" // whatever it is, it takes a guest that executes
	}
	answer, err := s.ask(ctx, verb, arg)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", coppice.ErrGuestGone, err)
	}
	if stdio.Stdout != nil {
		io.WriteString(stdio.Stdout, answer)
	}
	return coppice.ExecStatus{}, err
}

func (s session) SetClock(ctx context.Context) error {
	_, err := s.ask(ctx, "kept", "")
	return err
}

func (s session) Shutdown(ctx context.Context) error {
	_, err := s.ask(ctx, "poweroff", "")
	return err
}

func (s session) Close() error { return nil }

// exec has a guest do something, and returns what it says.
func (w *world) exec(ctx context.Context, id coppice.VMID, command string) (string, error) {
	s, release, err := w.Use(ctx, alice, id, "test")
	if err != nil {
		return "", err
	}
	defer release()
	var out strings.Builder
	_, err = s.Exec(ctx, coppice.ExecSpec{Command: command}, coppice.Stdio{Stdout: &out})
	return out.String(), err
}

// audit returns what is not as it should be, if nothing is being done.
func (w *world) audit(ctx context.Context) (wrong []string, err error) {
	rows, err := w.db.VMs(ctx, coppice.VMFilter{})
	if err != nil {
		return nil, err
	}
	lost, known := map[coppice.VMID]bool{}, map[coppice.VMID]bool{}
	for _, vm := range rows {
		lost[vm.ID], known[vm.ID] = vm.State == coppice.Failed, true
		if vm.Verb != coppice.Idle {
			wrong = append(wrong, fmt.Sprintf("VM %s is %s and its %s is in flight", vm.ID, vm.State, vm.Verb))
		} else if vm.State == coppice.Running && w.over(ctx, vm.ID) {
			wrong = append(wrong, fmt.Sprintf("VM %s is running, and its guest has ended", vm.ID))
		}
	}
	found, err := lifecycle.Inspect(ctx, w.config)
	if w.stocks > 0 { // only the daemon knows what is made ahead
		found = slices.DeleteFunc(found, func(d coppice.Discrepancy) bool { return !known[d.VM] })
		others, auditErr := w.Audit(ctx, false)
		found, err = append(found, others...), errors.Join(err, auditErr)
	}
	for _, d := range found {
		if d.Missing && lost[d.VM] {
			continue // what a delete had removed when it failed
		}
		wrong = append(wrong, fmt.Sprintf("%s %s of VM %q, capture %q: %s", d.Kind, d.Name, d.VM, d.Capture, d.Text))
	}
	// What was in flight while the host was looked at is not in what was found.
	now, rowsErr := w.db.VMs(ctx, coppice.VMFilter{})
	same := func(a, b coppice.VM) bool { return a.ID == b.ID && a.State == b.State && a.Verb == b.Verb }
	if !slices.EqualFunc(rows, now, same) {
		wrong = append(wrong, "something is being done to VMs")
	}
	return wrong, errors.Join(err, rowsErr)
}

// over reports whether the guest of a VM has ended, whose process is still there.
func (w *world) over(ctx context.Context, id coppice.VMID) bool {
	run, err := w.hv.Attach(ctx, id)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err = run.Wait(ctx)
	return err == nil
}

// lockedBuffer is where a world's daemons log to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
