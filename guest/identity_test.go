package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// file returns the content of a file of the machine's configuration, or "" if there is none.
func (m *machine) file(name string) string {
	content, _ := os.ReadFile(filepath.Join(m.root, name))
	return string(content)
}

// hook makes an executable that the machine runs after a fork.
func (m *machine) hook(t *testing.T, name, script string) {
	t.Helper()
	name = filepath.Join(m.root, "etc/coppice/fork.d", name)
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name, []byte("#!/bin/sh\n"+script), 0o755))
}

func TestIdentityOfANewGuest(t *testing.T) {
	m := boot(t)
	must(t, os.WriteFile(filepath.Join(m.root, "etc/ssh/ssh_host_rsa_key"), []byte("of the image"), 0o600))
	m.hook(t, "hook", "touch "+m.root+"/hooked")
	connect(t, m, alice)

	for name, want := range map[string]string{
		"etc/coppice/vm-id":       "aaaaaaaaaaaaaaaaaaaa\n",
		"etc/coppice/instance-id": "iiiiiiiiiiiiiiiiiiii\n",
		"etc/hostname":            "oak\n",
		"etc/hosts":               "127.0.0.1\tlocalhost\n127.0.1.1\toak\n",
	} {
		if got := m.file(name); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	if id := m.file("etc/machine-id"); !regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}\n$`).MatchString(id) {
		t.Errorf("machine-id is %q", id)
	}
	for _, kind := range []string{"ed25519", "ecdsa"} {
		name := "etc/ssh/ssh_host_" + kind + "_key"
		private, err := ssh.ParsePrivateKey([]byte(m.file(name)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(m.file(name + ".pub")))
		if err != nil || string(public.Marshal()) != string(private.PublicKey().Marshal()) {
			t.Errorf("%s.pub does not go with it: %v", name, err)
		}
		if info, err := os.Stat(filepath.Join(m.root, name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if m.file("etc/ssh/ssh_host_rsa_key") != "" {
		t.Error("a host key of the image is still there")
	}
	if m.system.hostname != "oak" || m.system.grown != 1 || len(m.system.entropy) != 1 || len(m.system.entropy[0]) != 32 {
		t.Errorf("the system was told %+v", m.system)
	}
	if _, err := os.Stat(m.root + "/hooked"); err == nil {
		t.Error("hooks ran at a boot")
	}
}

func TestIdentityAtTheNextRuns(t *testing.T) {
	m := boot(t)
	names := []string{"etc/machine-id", "etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ecdsa_key"}
	files := func() (contents []string) {
		for _, name := range names {
			contents = append(contents, m.file(name))
		}
		return contents
	}
	m.hook(t, "10-first", "echo first $COPPICE_VM_ID >>"+m.root+"/hooked")
	m.hook(t, "20-fails", "exit 3")
	m.hook(t, "30-last", "echo last >>"+m.root+"/hooked")

	connect(t, m, alice).Close()
	first := files()

	// Another daemon changes nothing.
	again := alice
	again.Fresh = false
	connect(t, m, again).Close()
	if len(m.system.entropy) != 2 || m.system.grown != 1 || m.file("hooked") != "" {
		t.Errorf("when only the host was new, the system was told %+v and hooks wrote %q", m.system, m.file("hooked"))
	}

	// Another run of the same VM, resumed: the hooks run, it is who it was.
	resumed := alice
	resumed.Instance = "jjjjjjjjjjjjjjjjjjjj"
	connect(t, m, resumed).Close()
	if got := files(); strings.Join(got, "") != strings.Join(first, "") {
		t.Errorf("a VM that was resumed has other keys or another machine-id")
	}
	if got := m.file("etc/coppice/instance-id"); got != "jjjjjjjjjjjjjjjjjjjj\n" {
		t.Errorf("instance-id is %q", got)
	}
	if want := "first " + string(alice.VM) + "\nlast\n"; m.file("hooked") != want {
		t.Errorf("hooks wrote %q, want %q", m.file("hooked"), want)
	}

	// A fork is somebody else.
	fork := coppice.GuestIdentity{VM: "bbbbbbbbbbbbbbbbbbbb", Instance: "kkkkkkkkkkkkkkkkkkkk", Hostname: "elm", Fresh: true}
	connect(t, m, fork).Close()
	for i, content := range files() {
		if content == first[i] || content == "" {
			t.Errorf("a fork has the %s of its parent, or none", names[i])
		}
	}
	if m.file("etc/hostname") != "elm\n" || m.system.hostname != "elm" || !strings.Contains(m.file("etc/hosts"), "127.0.1.1\telm\n") {
		t.Errorf("a fork has the host name %q in its file, %q in its kernel, and hosts %q", m.file("etc/hostname"), m.system.hostname, m.file("etc/hosts"))
	}
}

// A VM that boots again keeps its keys, unless they may have been lost.
func TestIdentityAfterABoot(t *testing.T) {
	m := boot(t)
	key := func() string { return m.file("etc/ssh/ssh_host_ed25519_key") }
	connect(t, m, alice).Close()
	for m.file("etc/coppice/host-keys-of") != string(alice.VM) {
		time.Sleep(time.Millisecond) // it is written in the background
	}
	first := key()
	again := alice
	again.Instance = "jjjjjjjjjjjjjjjjjjjj"
	m.start(t, "")
	connect(t, m, again).Close()
	if key() != first {
		t.Error("the key changed with a boot")
	}
	must(t, os.Remove(filepath.Join(m.root, "etc/coppice/host-keys-of")))
	m.start(t, "")
	connect(t, m, again).Close()
	if key() == first {
		t.Error("a key that may be another's was kept")
	}
}

// What a guest has on its disk already is not written again: the disk may be full.
func TestIdentityLeavesFilesAlone(t *testing.T) {
	m := boot(t)
	connect(t, m, alice).Close()
	long := time.Unix(1e9, 0)
	names, err := filepath.Glob(m.root + "/etc/*")
	must(t, err)
	for _, name := range names {
		must(t, os.Chtimes(name, long, long))
	}
	connect(t, m, alice).Close()
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Mode().IsRegular() && !info.ModTime().Equal(long) {
			t.Errorf("%s was written again: %v", name, err)
		}
	}
}

// A guest that cannot be told apart from another is not let in.
func TestIdentityRefused(t *testing.T) {
	broken := errors.New("no entropy")
	for name, spoil := range map[string]func(*machine){
		"without randomness": func(m *machine) { m.system.fail = broken },
		"without its files":  func(m *machine) { os.WriteFile(filepath.Join(m.root, "etc/coppice"), nil, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			m := boot(t)
			spoil(m)
			s, err := New(slog.New(slog.DiscardHandler)).Connect(t.Context(), m.dial, alice)
			if err == nil {
				s.Close()
				t.Fatal("the guest was let in")
			}
			t.Log(err)
		})
	}
}

// Nothing is let in before the guest knows who it is.
func TestNothingBeforeIdentity(t *testing.T) {
	m := boot(t)
	conn, err := m.dial(t.Context())
	must(t, err)
	l, err := shakeHands(t.Context(), conn, 10*time.Second)
	must(t, err)
	defer l.close()
	for _, req := range []wire.Request{
		{Op: wire.OpExec, Exec: &wire.Exec{Command: "touch " + m.root + "/let-in"}},
		{Op: wire.OpClock},
		{Op: wire.OpShutdown},
		{Op: wire.OpOpen, File: &wire.File{Name: "/"}},
		{Op: wire.OpIdentify}, // without one
		{Op: "something"},
		{},
	} {
		c, err := l.begin(t.Context(), req)
		must(t, err)
		var failure *wire.Error
		if err := c.answer(new(wire.Done)); !errors.As(err, &failure) {
			t.Errorf("%q before identity: %v, want to be refused", req.Op, err)
		}
		c.close()
	}
	if m.file("let-in") != "" || m.system.powerOff {
		t.Error("something was let in")
	}
}

func TestClockIsSet(t *testing.T) {
	for _, off := range []time.Duration{0, -500 * time.Millisecond, time.Hour, -1000 * 24 * time.Hour} {
		t.Run(fmt.Sprint(off), func(t *testing.T) {
			m := boot(t)
			m.system.off = off
			connect(t, m, alice)
			steps := 0
			if off != 0 {
				steps = 2 // one each time
				continued := connect(t, m, alice)
				m.system.off = off // as after a capture
				must(t, continued.SetClock(t.Context()))
			}
			// Far more than the tolerance: this host may be busy.
			if left := m.system.off.Abs(); left > 100*time.Millisecond {
				t.Errorf("the clock is still %v off", left)
			}
			if len(m.system.steps) != steps {
				t.Errorf("the clock was stepped by %v, want %d steps", m.system.steps, steps)
			}
		})
	}
}

// A connection that breaks while the guest takes its identity is made again.
func TestIdentityAfterABreak(t *testing.T) {
	m := boot(t)
	m.hook(t, "hook", "echo ran >>"+m.root+"/hooked; sleep 0.3")
	connect(t, m, alice).Close()
	resumed := alice
	resumed.Instance = "jjjjjjjjjjjjjjjjjjjj"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	broken := make(chan struct{})
	go func() {
		defer close(broken)
		for m.file("hooked") == "" && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		m.hangUp()
	}()
	connect(t, m, resumed).Close()
	cancel()
	<-broken
	if got := m.file("hooked"); got != "ran\n" {
		t.Errorf("the hook wrote %q, want to be run once", got)
	}
}
