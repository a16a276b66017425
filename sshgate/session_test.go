package sshgate

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func TestExec(t *testing.T) {
	g := newGate(t)
	s := g.session("oak", "key")
	must(t, s.Setenv("GREETING", "hello"))
	var out, errs bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader("from stdin\n"), &out, &errs
	err := s.Run("echo $GREETING; cat; echo oops >&2; exit 7")
	if failed, ok := err.(*ssh.ExitError); !ok || failed.ExitStatus() != 7 {
		t.Errorf("it ended with %v", err)
	}
	if out.String() != "hello\nfrom stdin\n" || errs.String() != "oops\n" {
		t.Errorf("it said %q and %q", &out, &errs)
	}
}

// begin returns when a command has begun.
func begin(t *testing.T, s *ssh.Session, command string) {
	t.Helper()
	out, err := s.StdoutPipe()
	must(t, err)
	must(t, s.Start("echo begun; "+command))
	_, err = io.ReadFull(out, make([]byte, len("begun\n")))
	must(t, err)
}

// A command keeps the VM in use; a client that leaves ends it.
func TestExecEndsWithItsChannel(t *testing.T) {
	g := newGate(t)
	c := g.client("oak", "key")
	s, err := c.NewSession()
	must(t, err)
	begin(t, s, "sleep 1000")
	if _, inUse, touched := g.vms.counts(); inUse != 1 || touched == 0 {
		t.Errorf("while it runs there are %d uses, and %d touches", inUse, touched)
	}
	must(t, s.Close())
	// The connection goes on, and the next command finds nobody in the VM.
	g.await("without a user", func() bool { _, inUse, _ := g.vms.counts(); return inUse == 0 })
	if out, _, err := run(t, c, "echo here"); out != "here\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

func TestSFTP(t *testing.T) {
	g := newGate(t)
	client, err := sftp.NewClient(g.client("oak+user", "token"))
	must(t, err)
	defer client.Close()
	f, err := client.Create("note")
	must(t, err)
	_, err = f.Write([]byte("kept"))
	must(t, errors.Join(err, f.Close()))
	got, err := g.vms.guest.Files("user").Open(t.Context(), "note")
	must(t, err)
	if content, _ := io.ReadAll(got.Content); string(content) != "kept" {
		t.Errorf("the guest has %q", content)
	}
	if _, inUse, _ := g.vms.counts(); inUse != 0 {
		t.Error("a quiet client keeps the VM in use")
	}
}

// echo answers one connection with what it says.
func echo(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	io.Copy(conn, conn)
	conn.(stream).CloseWrite()
}

// converse says something and returns all that is answered.
func converse(t *testing.T, conn net.Conn) string {
	t.Helper()
	defer conn.Close()
	_, err := io.WriteString(conn, "hello")
	must(t, err)
	must(t, conn.(stream).CloseWrite())
	answer, err := io.ReadAll(conn)
	must(t, err)
	return string(answer)
}

func TestLocalForwarding(t *testing.T) {
	g := newGate(t)
	c := g.client("oak+user", "token")
	for _, network := range []string{"tcp", "unix"} {
		l, err := g.vms.guest.Listen(t.Context(), "", network, map[string]string{"tcp": "127.0.0.1:8080", "unix": "/run/sock"}[network])
		must(t, err)
		go echo(l)
		conn, err := c.Dial(network, l.Addr().String())
		must(t, err)
		if got := converse(t, conn); got != "hello" {
			t.Errorf("%s: %q", network, got)
		}
		l.Close()
		if _, err := c.Dial(network, l.Addr().String()); err == nil || strings.Contains(err.Error(), "internal error") {
			t.Errorf("where nobody listens: %v", err)
		}
	}
	other := g.client("oak", "token")
	if _, err := other.Dial("tcp", "127.0.0.1:8080"); err == nil || !strings.Contains(err.Error(), "may not act as root") {
		t.Errorf("as somebody else: %v", err)
	}
}

func TestRemoteForwarding(t *testing.T) {
	g := newGate(t)
	c := g.client("oak+user", "key")
	tcp, err := c.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	unix, err := c.Listen("unix", "/home/user/sock")
	must(t, err)
	for _, l := range []net.Listener{tcp, unix} {
		go echo(l)
		conn, err := g.vms.guest.Dial(t.Context(), "", l.Addr().Network(), l.Addr().String())
		must(t, err)
		if got := converse(t, conn); got != "hello" {
			t.Errorf("%s: %q", l.Addr(), got)
		}
		must(t, l.Close())
		if conn, err := g.vms.guest.Dial(t.Context(), "", l.Addr().Network(), l.Addr().String()); err == nil {
			conn.Close()
			t.Errorf("%s is still there", l.Addr())
		}
	}
	taken, err := g.vms.guest.Listen(t.Context(), "", "tcp", "127.0.0.1:9")
	must(t, err)
	defer taken.Close()
	if _, err := c.Listen("tcp", "127.0.0.1:9"); err == nil {
		t.Error("two listen on one port")
	}
}

// Who has connected stays so when the client listens no more, and ends with the
// client's connection. What the client listens at anew is another thing.
func TestRemoteForwardingEnds(t *testing.T) {
	g := newGate(t)
	c := g.client("oak+user", "key")
	connect := func() (l net.Listener, here, there net.Conn) {
		l, err := c.Listen("tcp", "127.0.0.1:8080")
		must(t, err)
		there, err = g.vms.guest.Dial(t.Context(), "", "tcp", "127.0.0.1:8080")
		must(t, err)
		must(t, there.SetDeadline(time.Now().Add(patience)))
		here, err = l.Accept()
		must(t, err)
		return l, here, there
	}
	first, here, there := connect()
	go func() {
		io.Copy(here, here)
		here.Close()
	}()
	must(t, first.Close())
	_, _, other := connect()
	if got := converse(t, there); got != "hello" { // and ends
		t.Errorf("after it was cancelled: %q", got)
	}
	another, err := g.vms.guest.Dial(t.Context(), "", "tcp", "127.0.0.1:8080")
	must(t, err)
	another.Close()
	must(t, c.Close())
	if n, err := other.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the connection has ended: %d, %v", n, err)
	}
	g.await("closed", func() bool {
		conn, err := g.vms.guest.Dial(t.Context(), "", "tcp", "127.0.0.1:8080")
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

func TestAgentForwarding(t *testing.T) {
	g := newGate(t)
	c := g.client("oak+user", "key")
	keys := agent.NewKeyring()
	must(t, agent.ForwardToAgent(c, keys))
	s, err := c.NewSession()
	must(t, err)
	must(t, agent.RequestAgentForwarding(s))
	in, err := s.StdinPipe()
	must(t, err)
	out, err := s.StdoutPipe()
	must(t, err)
	must(t, s.Start("echo $SSH_AUTH_SOCK; cat"))
	if err := agent.RequestAgentForwarding(s); err == nil {
		t.Error("asked for when it is too late")
	}
	path := make([]byte, len("/tmp/ssh-agent-.sock\n")+26)
	_, err = io.ReadFull(out, path)
	must(t, err)
	socket := strings.TrimSpace(string(path))
	if dir := filepath.Dir(socket); dir != os.TempDir() && dir != "/tmp" {
		t.Fatalf("the agent is at %q", socket)
	}
	conn, err := g.vms.guest.Dial(t.Context(), "user", "unix", socket)
	must(t, err)
	if _, err := agent.NewClient(conn).List(); err != nil {
		t.Error(err)
	}
	conn.Close()
	must(t, in.Close())
	must(t, s.Wait())
	if _, err := g.vms.guest.Dial(t.Context(), "user", "unix", socket); err == nil {
		t.Error("the agent's socket outlives its session")
	}
}

// A daemon that leaves tells who is there, and waits for nobody.
func TestShutdown(t *testing.T) {
	g := newGate(t)
	s := g.session("oak", "key")
	var errs bytes.Buffer
	s.Stderr = &errs
	begin(t, s, "sleep 1000")
	quiet := g.client("oak", "key")
	must(t, g.Shutdown(t.Context()))
	if err := s.Wait(); err == nil || errs.String() != "coppice: "+errLeaving.Error()+"\n" {
		t.Errorf("%v, and it says %q", err, &errs)
	}
	if err := quiet.Wait(); err == nil {
		t.Error("the connection ended well")
	}
	if _, err := g.dial("oak", ssh.Password("key")); err == nil {
		t.Error("it still listens")
	}
}

func TestManyAtOnce(t *testing.T) {
	g := newGate(t)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			c, err := g.dial("oak", ssh.Password("key"))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			s, err := c.NewSession()
			if err != nil {
				t.Error(err)
				return
			}
			want := strconv.Itoa(i) + "\n"
			if out, err := s.Output("echo " + strconv.Itoa(i)); string(out) != want || err != nil {
				t.Errorf("%q, %v, want %q", out, err, want)
			}
		})
	}
	all.Wait()
}
