package host

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coppice-vm/coppice"
)

// The test binary is also the daemon that the tests start, with the arguments
// "daemon", the directory, and what to do.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "daemon" {
		os.Exit(daemon(Dir(os.Args[2]), os.Args[3]))
	}
	os.Exit(m.Run())
}

func daemon(d Dir, how string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	println("the daemon says hello")
	if how == "fail" {
		println("cannot listen")
		return 3
	}
	claim, err := d.Claim()
	if err != nil {
		println(err.Error())
		return 1
	}
	if how != "silent" {
		Notify("STATUS=settling 2 VMs")
		Notify("READY=1")
	}
	<-ctx.Done()
	if how == "deaf" {
		select {}
	}
	println("goodbye")
	claim.Release()
	return 0
}

// start starts a daemon on d, to be ended with the test.
func start(t *testing.T, d Dir, how string, limit time.Duration) ([]string, error) {
	t.Helper()
	if booted() && os.Geteuid() != 0 {
		t.Skip("systemd runs this machine, and its units are root's")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	t.Cleanup(func() {
		_, err := d.Stop(context.Background())
		if err := errors.Join(err, d.Uninstall(context.Background())); err != nil {
			t.Error(err)
		}
	})
	var said []string
	err = d.Start(ctx, []string{exe, "daemon", string(d), how}, func(s string) { said = append(said, s) })
	return said, err
}

func TestStartAndStop(t *testing.T) {
	d := Dir(t.TempDir())
	said, err := start(t, d, "serve", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"settling 2 VMs"}; !booted() && !slices.Equal(said, want) {
		t.Errorf("status %q, want %q", said, want)
	}
	p, err := d.Daemon()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Args, []string{"daemon", string(d), "serve"}) {
		t.Errorf("arguments %q", p.Args)
	}
	exe, _ := os.Executable()
	if same, err := p.Runs(exe); err != nil || !same {
		t.Errorf("Runs(its own program) = %v, %v", same, err)
	}
	if same, err := p.Runs("/bin/true"); err != nil || same {
		t.Errorf("Runs(another program) = %v, %v", same, err)
	}
	if sid, err := syscall.Getpgid(p.PID); err != nil || sid != p.PID {
		t.Errorf("process group %d, %v: it would get this terminal's signals", sid, err)
	}

	if killed, err := d.Stop(t.Context()); killed || err != nil {
		t.Fatalf("killed %v, %v", killed, err)
	}
	if _, err := d.Daemon(); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("after Stop: %v", err)
	}
	log, err := os.ReadFile(d.Log())
	if err != nil || !strings.HasSuffix(string(log), "goodbye\n") {
		t.Errorf("it was not let finish: log %q, %v", log, err)
	}
	if killed, err := d.Stop(t.Context()); killed || err != nil {
		t.Errorf("Stop without a daemon: %v, %v", killed, err)
	}
}

func TestStopInsists(t *testing.T) {
	d := Dir(t.TempDir())
	if _, err := start(t, d, "deaf", time.Minute); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if killed, err := d.Stop(ctx); !killed || err != nil {
		t.Errorf("killed %v, %v", killed, err)
	}
	if _, err := d.Daemon(); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("after Stop: %v", err)
	}
}

func TestStartFails(t *testing.T) {
	t.Run("ends", func(t *testing.T) {
		d := Dir(t.TempDir())
		os.WriteFile(d.Log(), []byte("an old line\n"), 0o600)
		_, err := start(t, d, "fail", time.Minute)
		if err == nil || !strings.HasSuffix(err.Error(), "\nthe daemon says hello\ncannot listen") {
			t.Errorf("error %v, want one that ends with what it printed", err)
		}
		if err != nil && strings.Contains(err.Error(), "an old line") {
			t.Error("the error quotes what an earlier run printed")
		}
	})
	t.Run("never gets ready", func(t *testing.T) {
		d := Dir(t.TempDir())
		_, err := start(t, d, "silent", time.Second)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if _, err := d.Daemon(); !errors.Is(err, ErrNoDaemon) {
			t.Errorf("it was left: %v", err)
		}
	})
}

func TestClaim(t *testing.T) {
	d := Dir(t.TempDir())
	if _, err := d.Daemon(); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("new directory: %v", err)
	}
	claim, err := d.Claim()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Claim(); !errors.Is(err, ErrClaimed) {
		t.Errorf("second claim: %v", err)
	}
	p, err := d.Daemon()
	if err != nil || p.PID != os.Getpid() {
		t.Errorf("Daemon = %+v, %v", p, err)
	}
	if err := claim.Release(); err != nil {
		t.Fatal(err)
	}
	if err := claim.Release(); err != nil {
		t.Errorf("second release: %v", err)
	}
	if _, err := d.Daemon(); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("after release: %v", err)
	}
	again, err := d.Claim()
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
}

func TestStopSparesAnotherProcessOfThatPID(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p, err := inspect(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p.Start++
	if killed, err := p.Stop(t.Context()); killed || err != nil {
		t.Fatalf("killed %v, %v", killed, err)
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the stranger is gone: %v", err)
	}
}

func TestRunsTellsAReplacedProgram(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "sleep")
	sleep, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		os.Remove(exe)
		if err := os.WriteFile(exe, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(sleep)
	cmd := exec.Command(exe, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p := Process{PID: cmd.Process.Pid}

	write(sleep) // another file with the same content
	if same, err := p.Runs(exe); err != nil || !same {
		t.Errorf("rebuilt without a change: %v, %v", same, err)
	}
	sleep[len(sleep)-1] ^= 1
	write(sleep)
	if same, err := p.Runs(exe); err != nil || same {
		t.Errorf("changed: %v, %v", same, err)
	}
}

func TestCredentials(t *testing.T) {
	d := Dir(t.TempDir())
	if _, err := d.ReadCredentials(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none yet: %v", err)
	}
	for _, want := range []Credentials{{"http://127.0.0.1:1", "one"}, {"http://127.0.0.1:2", "another"}} {
		if err := d.WriteCredentials(want); err != nil {
			t.Fatal(err)
		}
		got, err := d.ReadCredentials()
		if err != nil || got != want {
			t.Errorf("read %+v, %v; wrote %+v", got, err, want)
		}
	}
	info, err := os.Stat(d.Credentials())
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	entries, _ := os.ReadDir(string(d))
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestImage(t *testing.T) {
	d := Dir(t.TempDir())
	if id, err := d.Image(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none yet: %q, %v", id, err)
	}
	if err := d.SetImage("debian-12-1"); err != nil {
		t.Fatal(err)
	}
	if id, err := d.Image(); err != nil || id != "debian-12-1" {
		t.Errorf("image %q, %v", id, err)
	}
}

// A daemon that is not systemd's has the environment of who started it.
func TestInherited(t *testing.T) {
	if booted() {
		t.Skip("systemd starts daemons here")
	}
	self, err := inspect(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	inherited := func() bool {
		same, err := self.Inherited("COPPICE_TEST_")
		if err != nil {
			t.Error(err)
		}
		return same
	}
	if !inherited() {
		t.Error("nothing has changed, and it says so")
	}
	t.Setenv("ANOTHER", "x")
	if !inherited() {
		t.Error("another variable counts")
	}
	t.Setenv("COPPICE_TEST_ENDPOINT", "x")
	if inherited() {
		t.Error("a new variable does not count")
	}
}

// A host has one key for good: clients would take another for another host.
func TestEnsureHostKey(t *testing.T) {
	d := Dir(t.TempDir())
	if _, err := d.HostKey(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none yet: %v", err)
	}
	made, err := d.EnsureHostKey()
	if err != nil {
		t.Fatal(err)
	}
	kept, err := d.EnsureHostKey()
	if err != nil || made.PublicKey().Type() != "ssh-ed25519" || !bytes.Equal(made.PublicKey().Marshal(), kept.PublicKey().Marshal()) {
		t.Errorf("made %s, then there is %v, %v", made.PublicKey().Type(), kept, err)
	}
	if info, err := os.Stat(d.SSHHostKey()); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(d.SSHHostKey(), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.EnsureHostKey(); err == nil || !strings.Contains(err.Error(), d.SSHHostKey()) {
		t.Errorf("a file that is no key: %v", err)
	}
}

func TestRemove(t *testing.T) {
	fill := func() Dir {
		d := Dir(filepath.Join(t.TempDir(), "data"))
		if _, err := d.Claim(); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("claimed a directory that is not there: %v", err)
		}
		if err := d.Make(); err != nil {
			t.Fatal(err)
		}
		claim, err := d.Claim()
		if err != nil {
			t.Fatal(err)
		}
		_, keyErr := d.EnsureHostKey()
		if err := errors.Join(claim.Release(), d.SetImage("i"), d.WriteCredentials(Credentials{}), keyErr, os.Mkdir(d.Run(), 0o700), os.Mkdir(d.Certificates(), 0o700)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{d.Database(), d.Database() + "-wal", d.Log(), d.Log() + ".1", d.Run() + "/console", d.CA(), d.Sessions(), d.Certificates() + "/a.example.com.key", d.Accelerator(), d.CA() + ".123", string(d) + "/upload-456"} {
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}

	d := fill()
	if err := d.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(string(d)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if err := d.Remove(); err != nil {
		t.Errorf("again: %v", err)
	}

	d = fill()
	precious := filepath.Join(string(d), "thesis.txt")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(); err == nil {
		t.Error("said that it is gone, with a stranger's file in it")
	}
	if entries, err := os.ReadDir(string(d)); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v; want only the stranger's file", entries, err)
	}
}

// What was not written to its end is listed, may be erased, and goes with the next
// claim; nothing else is.
func TestUnfinished(t *testing.T) {
	d := Dir(t.TempDir())
	if err := os.MkdirAll(d.Certificates()+"/authority/a.example.com", 0o700); err != nil {
		t.Fatal(err)
	}
	ours := []string{d.Certificates() + "/authority/a.example.com/123", d.Credentials() + ".123", d.SSHHostKey() + ".123", string(d) + "/upload-123"}
	others := []string{d.Certificates() + "/authority/a.example.com/a.example.com.key", d.Credentials(), d.Credentials() + ".old", string(d) + "/123"}
	fill := func() {
		for _, name := range append(ours, others...) {
			if err := os.WriteFile(name, []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	listed := func() (names []string) {
		traces, err := d.Traces(t.Context())
		if err != nil {
			t.Error(err)
		}
		for _, trace := range traces {
			if trace.Kind != coppice.TraceUnfinished || !trace.Disposable {
				t.Errorf("%+v", trace)
			}
			names = append(names, trace.Name)
		}
		slices.Sort(names)
		return names
	}
	fill()
	if got := listed(); !slices.Equal(got, ours) {
		t.Errorf("listed %q, want %q", got, ours)
	}
	for _, name := range ours {
		if err := errors.Join(d.Erase(t.Context(), coppice.Trace{Name: name}), d.Erase(t.Context(), coppice.Trace{Name: name})); err != nil {
			t.Errorf("erase, twice: %v", err)
		}
	}
	for _, name := range others {
		if d.Erase(t.Context(), coppice.Trace{Name: name}) == nil {
			t.Errorf("%s was erased, or so it says", name)
		}
	}
	fill()
	claim, err := d.Claim()
	if err != nil {
		t.Fatal(err)
	}
	defer claim.Release()
	if got := listed(); len(got) > 0 {
		t.Errorf("after a claim there are %q", got)
	}
	for _, name := range others {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
	}
}

func TestRotate(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if start, err := rotate(log); start != 0 || err != nil {
		t.Errorf("no log: %d, %v", start, err)
	}
	for size, moved := range map[int64]bool{1 << 20: false, 16 << 20: true} {
		if err := os.WriteFile(log, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(log, size); err != nil {
			t.Fatal(err)
		}
		start, err := rotate(log)
		if err != nil || moved && start != 0 || !moved && start != size {
			t.Errorf("%d bytes: %d stay, %v", size, start, err)
		}
		if _, err := os.Stat(log); errors.Is(err, fs.ErrNotExist) != moved {
			t.Errorf("%d bytes: %v, want moved %v", size, err, moved)
		}
	}
}

func TestUnit(t *testing.T) {
	for dir, want := range map[Dir]string{
		DefaultDir:     "coppice.service",
		"/srv/vm-a":    `coppice-srv-vm\x2da.service`,
		"/srv/vm/a":    "coppice-srv-vm-a.service",
		"/srv/coppice": "coppice-srv-coppice.service",
	} {
		if got := dir.unit().name; got != want {
			t.Errorf("unit of %s is %s, want %s", dir, got, want)
		}
	}
	got := DefaultDir.unit().text(DefaultDir, []string{"/opt/a b/coppice", "serve", "--listen", "$x%y"})
	want := `[Unit]
Description=coppice, keeper of virtual machines (/var/lib/coppice)
After=network.target local-fs.target

[Service]
Type=notify
ExecStart="/opt/a b/coppice" "serve" "--listen" "$$x%%y"
KillMode=process
CPUWeight=100
MemoryAccounting=yes
TasksAccounting=yes
IOAccounting=yes
Restart=on-failure
TimeoutStartSec=120
StandardOutput=append:/var/lib/coppice/coppice.log
StandardError=append:/var/lib/coppice/coppice.log

[Install]
WantedBy=multi-user.target
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
