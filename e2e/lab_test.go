package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/internal/host"
)

// A lab is a host with a daemon of its own, in a network namespace: all that its
// VMs can reach is a world that is another one. Nothing leaves the machine.
type lab struct {
	t       *testing.T
	program string
	data    string
	ns      string // names of namespaces
	out     string
	// boots counts the host's boots, if it has mounts of its own: see powerCycle.
	boots int
	disk  string // the file that the pool is in, if it is in one
	// heard are the datagrams that have come to the world, and the lines that
	// were sent to its echo.
	heard chan string
	// daemon runs unless it was killed.
	daemon *exec.Cmd
}

// The world: hosts that serve HTTP, echo lines, and one that knows names.
var labWorld = map[string]string{
	"public.example":   "20.0.0.1",
	"other.example":    "20.0.0.2",
	"inside.example":   "10.9.0.1",
	"metadata.example": "169.254.169.254",
}

const (
	labHost  = "20.0.0.254" // the host's own address
	labNames = "20.0.0.53"
	labPort  = "4700" // of the daemon's API
	webPort  = "80"
	echoPort = "7"
	sinkPort = "9"
)

// newLab makes a lab, without a daemon yet.
func newLab(t *testing.T) *lab {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab-") // short, for the names of sockets
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, program: install.program, data: filepath.Join(dir, "data"), ns: filepath.Base(dir), out: filepath.Base(dir) + "-world", heard: make(chan string, 1000)}
	l.disk = host.Dir(l.data).Pool() + ".xfs"
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, ns := range []string{l.ns, l.out} {
		l.run("ip", "netns", "add", ns)
		t.Cleanup(func() { l.run("ip", "netns", "delete", ns) })
		l.run("ip", "-n", ns, "link", "set", "lo", "up")
	}
	l.run("ip", "-n", l.ns, "link", "add", "outside", "type", "veth", "peer", "name", "world", "netns", l.out)
	l.run("ip", "-n", l.ns, "address", "add", labHost+"/24", "dev", "outside")
	l.run("ip", "-n", l.ns, "link", "set", "outside", "up")
	for _, address := range append([]string{labNames}, values(labWorld)...) {
		l.run("ip", "-n", l.out, "address", "add", address+"/24", "dev", "world")
	}
	l.run("ip", "-n", l.out, "link", "set", "world", "up")
	l.run("ip", "-n", l.ns, "route", "add", "default", "via", labWorld["public.example"])
	l.serveWorld()
	return l
}

func values(m map[string]string) (all []string) {
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

// run runs a command, which is to succeed, and returns what it printed.
func (l *lab) run(name string, args ...string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		l.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &out, &stderr)
	}
	return out.String()
}

// command is the program on the lab's host.
func (l *lab) command(args ...string) []string {
	command := []string{"--net=/run/netns/" + l.ns}
	if l.boots > 0 {
		command = append(command, "--mount="+l.mounts())
	}
	return append(append(command, l.program, "--data", l.data), args...)
}

// coppice runs the program on the lab's host, and returns what it printed.
func (l *lab) coppice(args ...string) string {
	l.t.Helper()
	return strings.TrimSpace(l.run("nsenter", l.command(args...)...))
}

// start starts a daemon, and returns when it serves.
func (l *lab) start(args ...string) {
	l.t.Helper()
	log, err := os.OpenFile(filepath.Dir(l.data)+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	defer log.Close()
	l.daemon = exec.Command("nsenter", l.command(append([]string{"serve", "--listen", "0.0.0.0:" + labPort}, args...)...)...)
	l.daemon.Stdout, l.daemon.Stderr = log, log
	if err := l.daemon.Start(); err != nil {
		l.t.Fatal(err)
	}
	for deadline := time.Now().Add(callDeadline); exec.Command("nsenter", l.command("ls")...).Run() != nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			l.t.Fatalf("the daemon does not serve:\n%s", said)
		}
	}
}

// kill ends the daemon without warning.
func (l *lab) kill() {
	l.daemon.Process.Kill()
	l.daemon.Wait()
}

// leave tells the daemon to end, and returns when it has.
func (l *lab) leave() {
	l.daemon.Process.Signal(unix.SIGTERM)
	if err := l.daemon.Wait(); err != nil {
		l.t.Errorf("the daemon ended with %v", err)
	}
}

// purge removes all that the lab's daemons have made.
func (l *lab) purge() {
	if out, err := exec.Command("nsenter", l.command("doctor", "--audit")...).CombinedOutput(); err != nil {
		l.t.Errorf("the audit at the end: %v\n%s", err, out)
	}
	l.kill()
	l.coppice("purge", "--yes", "--keep-cache")
	if err := remains(l.data); err != nil {
		l.t.Error(err)
	}
	if links := l.run("ip", "-n", l.ns, "-o", "link"); strings.Contains(links, "cpv") {
		l.t.Errorf("links are left on the host:\n%s", links)
	}
}

// abroad runs f on a thread in the world, which goes afterwards.
func (l *lab) abroad(f func() error) {
	l.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock
		ns, err := os.Open("/run/netns/" + l.out)
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		l.t.Fatal(err)
	}
}

// serveWorld serves what the hosts of the world serve, until the end of the test.
func (l *lab) serveWorld() {
	var web, echo net.Listener
	var sink, names net.PacketConn
	l.abroad(func() (err error) {
		for _, open := range []func() error{
			func() error { web, err = net.Listen("tcp4", ":"+webPort); return err },
			func() error { echo, err = net.Listen("tcp4", ":"+echoPort); return err },
			func() error { sink, err = net.ListenPacket("udp4", ":"+sinkPort); return err },
			func() error { names, err = net.ListenPacket("udp4", labNames+":53"); return err },
		} {
			if err := open(); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range []io.Closer{web, echo, sink, names} {
		l.t.Cleanup(func() { c.Close() })
	}
	go http.Serve(web, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the world\n") }))
	go l.echo(echo)
	go func() {
		b := make([]byte, 1<<10)
		for {
			n, _, err := sink.ReadFrom(b)
			if err != nil {
				return
			}
			l.heard <- string(b[:n])
		}
	}()
	go (&dns.Server{PacketConn: names, Handler: dns.HandlerFunc(answerName)}).ActivateAndServe()
}

// echo answers lines with themselves.
func (l *lab) echo(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				l.heard <- lines.Text()
				fmt.Fprintln(conn, lines.Text())
			}
		}()
	}
}

func answerName(w dns.ResponseWriter, question *dns.Msg) {
	m := new(dns.Msg).SetReply(question)
	asked := question.Question[0]
	address, ok := labWorld[strings.TrimSuffix(dns.CanonicalName(asked.Name), ".")]
	if !ok {
		m.Rcode = dns.RcodeNameError
	} else if asked.Qtype == dns.TypeA {
		m.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: asked.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
			A:   netip.MustParseAddr(address).AsSlice(),
		}}
	}
	w.WriteMsg(m)
}

// hears waits until the world hears something, and returns it.
func (l *lab) hears() string {
	l.t.Helper()
	select {
	case s := <-l.heard:
		return s
	case <-time.After(callDeadline):
		l.t.Fatal("the world hears nothing")
		return ""
	}
}
