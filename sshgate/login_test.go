package sshgate

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice"
)

// run runs a command and returns what it said.
func run(t *testing.T, c *ssh.Client, command string) (stdout, stderr string, err error) {
	t.Helper()
	s, err := c.NewSession()
	must(t, err)
	defer s.Close()
	var out, errs bytes.Buffer
	s.Stdout, s.Stderr = &out, &errs
	err = s.Run(command)
	return out.String(), errs.String(), err
}

func TestWhoGetsIn(t *testing.T) {
	g := newGate(t)
	for _, test := range []struct{ user, password, want string }{
		{"oak", "key", "root\n"},
		{string(vmID), "key", "root\n"},
		{"oak+user", "key", "user\n"},
		{"oak+user", "token", "user\n"},
		{"oak:key", "", "root\n"},
		{"oak+user,token", "", "user\n"},
		{string(vmID) + "+user:token", "", "user\n"},

		{"oak", "token", "coppice: this token may not act as root in VM " + string(vmID) + ", only as user\n"},
		{"oak+bob", "key", "coppice: no such user in the guest: \"bob\"\n"},
		{"elm", "key", "coppice: there is no VM elm\n"},
		{"dddddddddddddddddddd", "key", "coppice: there is no VM dddddddddddddddddddd\n"},
		{"twin", "key", "coppice: more than one VM is called twin: say which by its id\n"},
		// To a token a VM that it may not use does not exist.
		{"twin", "token", "coppice: there is no VM twin\n"},
		{string(twinID), "token", "coppice: there is no VM " + string(twinID) + "\n"},
	} {
		var auth []ssh.AuthMethod
		if test.password != "" {
			auth = append(auth, ssh.Password(test.password))
		}
		c, err := g.dial(test.user, auth...)
		if err != nil {
			t.Errorf("%s: %v", test.user, err)
			continue
		}
		out, errs, err := run(t, c, "echo $USER")
		if got := out + errs; got != test.want {
			t.Errorf("%s: %q, %v, want %q", test.user, got, err, test.want)
		}
		if failed, ok := err.(*ssh.ExitError); errs != "" && (!ok || failed.ExitStatus() != statusFailed) {
			t.Errorf("%s: %v, want status %d", test.user, err, statusFailed)
		}
		c.Close()
	}
}

// Whoever is refused learns nothing from it, waits for it, and may not go on for ever.
func TestWhoIsRefused(t *testing.T) {
	g := newGate(t)
	attempts := 0
	for _, test := range []struct {
		user string
		auth []ssh.AuthMethod
	}{
		{"oak", nil},
		{"oak", []ssh.AuthMethod{ssh.Password("wrong")}},
		{"elm", []ssh.AuthMethod{ssh.Password("wrong")}},
		{"oak:wrong", nil},
		{"oak+", []ssh.AuthMethod{ssh.Password("key")}},
		{"oak+:key", nil},
	} {
		began := time.Now()
		_, err := g.dial(test.user, test.auth...)
		if err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
			t.Errorf("%s: %v", test.user, err)
		}
		if tried := test.auth != nil || test.user == "oak:wrong"; tried {
			attempts++
			if took := time.Since(began); took < refusalTime {
				t.Errorf("%s: refused after %v", test.user, took)
			}
		}
	}
	for range maxFailures - attempts {
		g.failures.add(origin(addr("127.0.0.1:1")))
	}
	if _, err := g.dial("oak", ssh.Password("key")); err == nil || strings.Contains(err.Error(), "unable to authenticate") {
		t.Errorf("after %d failures: %v", maxFailures, err)
	}
}

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// A connection ends when the key that opened it is revoked.
func TestRevoked(t *testing.T) {
	g := newGate(t)
	c := g.client("oak", "key")
	s, err := c.NewSession()
	must(t, err)
	var errs bytes.Buffer
	s.Stderr = &errs
	begin(t, s, "sleep 1000")
	g.revoke()
	if err := s.Wait(); err == nil {
		t.Error("the command ended well")
	}
	if got := errs.String(); got != "coppice: "+coppice.ErrRevoked.Error()+"\n" {
		t.Errorf("it says %q", got)
	}
	if err := c.Wait(); err == nil {
		t.Error("the connection ended well")
	}
}

// A key that is registered lets in whoever has it, wherever it is among those
// that are offered; others count as one failure for all of them.
func TestPublicKeys(t *testing.T) {
	g := newGate(t)
	known, unknown := sshKey(t, 1), sshKey(t, 2)
	c, err := g.dial("oak+user", ssh.PublicKeys(unknown, known))
	must(t, err)
	defer c.Close()
	if out, _, err := run(t, c, "echo $USER"); out != "user\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	from := origin(addr("127.0.0.1:1"))
	if _, failed := g.failures.until[from]; failed {
		t.Error("a key that was offered in vain before another counts as a failure")
	}
	if _, err := g.dial("oak", ssh.PublicKeys(unknown, sshKey(t, 3))); err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
		t.Errorf("by an unknown key: %v", err)
	}
	g.await("counted", func() bool {
		g.failures.mu.Lock()
		defer g.failures.mu.Unlock()
		return !g.failures.until[from].IsZero()
	})
	if left := time.Until(g.failures.until[from]); left > forgiveTime {
		t.Errorf("it counts as more than one failure: %v", left)
	}
}
