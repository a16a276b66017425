package guest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/agent"
)

// A machine is an agent in this process, with a port like QEMU's: the guest's
// end stays, the host's end is replaced by every dial, and what is under way
// when it breaks is cut wherever it happens to be.
type machine struct {
	root   string // of its configuration
	system *system
	settle time.Duration // what the agent waits before it makes an identity last

	mu    sync.Mutex
	qemu  net.Conn // the other end of the guest's port
	host  net.Conn // QEMU's end of the last connection
	pumps sync.WaitGroup
}

// boot starts a machine, which ends with the test.
func boot(t *testing.T) *machine { return bootWith(t, cgroup(t)) }

// bootWith starts a machine whose commands have their cgroups in a directory.
func bootWith(t *testing.T, cgroup string) *machine {
	m := &machine{root: t.TempDir(), system: &system{}}
	for name, content := range map[string]string{
		"etc/passwd":         "root:x:0:0::" + filepath.Join(m.root, "root") + ":/bin/bash\nalice:x:4242:4243::" + filepath.Join(m.root, "home/alice") + ":/bin/sh\nhomeless:x:4245:4245::/nonexistent:/bin/sh\n",
		"etc/group":          "root:x:0:\nalice:x:4243:\nstaff:x:4244:bob,alice\n",
		"etc/hosts":          "127.0.0.1\tlocalhost\n127.0.1.1\tdebian\n",
		"etc/ssh/moduli":     "",
		"home/alice/.bashrc": "",
		"root/.bashrc":       "",
	} {
		name = filepath.Join(m.root, name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, []byte(content), 0o644))
	}
	for dir := m.root; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755)) // so that alice gets there
	}
	must(t, os.Chown(filepath.Join(m.root, "home/alice"), 4242, 4243))

	m.start(t, cgroup)
	return m
}

// start starts the machine's agent, as a boot does.
func (m *machine) start(t *testing.T, cgroup string) {
	m.hangUp()
	guest, qemu := socketPair(t)
	m.qemu = qemu
	ctx, cancel := context.WithCancel(context.Background())
	a := agent.New(agent.Config{
		Root:   m.root,
		System: m.system,
		Cgroup: cgroup,
		Usable: func(context.Context) error { return nil },
		Settle: m.settle,
		Ready:  func() {},
		Log:    t.Logf,
	})
	served := make(chan error, 1)
	go func() { served <- a.Serve(ctx, guest) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != context.Canceled {
			t.Errorf("the agent ended with %v", err)
		}
		m.hangUp()
		qemu.Close()
	})
}

// cgroup returns a directory for the agent's cgroups, if this host has any to give.
func cgroup(t *testing.T) string {
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if err := unix.Statfs(mount, &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		dir := filepath.Join(mount, fmt.Sprintf("coppice-test-%d", time.Now().UnixNano()))
		if os.Mkdir(dir, 0o755) == nil {
			t.Cleanup(func() {
				os.WriteFile(dir+"/cgroup.kill", []byte("1"), 0)
				groups, _ := filepath.Glob(dir + "/exec-*")
				for _, group := range append(groups, dir) {
					for range 100 {
						if unix.Rmdir(group) != unix.EBUSY {
							break
						}
						time.Sleep(10 * time.Millisecond) // until what was killed is gone
					}
				}
			})
			return dir
		}
	}
	return ""
}

// dial connects a new host end, in place of the last.
func (m *machine) dial(context.Context) (net.Conn, error) {
	m.hangUp()
	m.mu.Lock()
	defer m.mu.Unlock()
	ours, theirs := net.Pipe()
	m.host = ours
	m.pumps.Go(func() { io.Copy(m.qemu, ours) })
	m.pumps.Go(func() {
		io.Copy(ours, m.qemu)
		ours.Close()
	})
	return theirs, nil
}

// hangUp breaks the connection, like a QEMU whose client has gone.
func (m *machine) hangUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.host == nil {
		return
	}
	m.host.Close()
	m.qemu.SetDeadline(time.Unix(1, 0))
	m.pumps.Wait()
	m.qemu.SetDeadline(time.Time{})
	m.host = nil
}

func socketPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	var conns [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		conns[i], err = net.FileConn(f)
		f.Close()
		must(t, err)
	}
	return conns[0], conns[1]
}

// A system is a kernel that only remembers what it was told.
type system struct {
	mu       sync.Mutex
	off      time.Duration // of the clock
	steps    []time.Duration
	entropy  [][]byte
	hostname string
	grown    int
	powerOff bool
	fail     error // of Reseed
}

func (s *system) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.off)
}

func (s *system) StepClock(by time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off += by
	s.steps = append(s.steps, by)
	return nil
}

func (s *system) Reseed(entropy []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entropy = append(s.entropy, entropy)
	return s.fail
}

func (s *system) SetHostname(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hostname = name
	return nil
}

func (s *system) GrowRoot() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grown++
	return nil
}

func (s *system) PowerOff() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.powerOff = true
	return nil
}

var alice = coppice.GuestIdentity{VM: "aaaaaaaaaaaaaaaaaaaa", Instance: "iiiiiiiiiiiiiiiiiiii", Hostname: "oak", Fresh: true}

// connect opens a session with m that ends with the test.
func connect(t *testing.T, m *machine, id coppice.GuestIdentity) coppice.Session {
	t.Helper()
	s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), m.dial, id)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
