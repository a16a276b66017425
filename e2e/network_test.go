package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice/api"
)

// scan is a program for a guest that tries every target, "what host port" a
// line, and prints what it has reached.
const scan = `
import socket, sys, concurrent.futures
def attempt(line):
    what, host, port = line.split()
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        return what
    except OSError:
        return ""
lines = sys.argv[1].strip().splitlines()
with concurrent.futures.ThreadPoolExecutor(len(lines)) as pool:
    print("\n".join(sorted(filter(None, pool.map(attempt, lines)))))
`

// reaches checks what of targets a VM reaches: no more, and no less.
func (l *lab) reaches(vm string, targets map[string]string, want ...string) {
	l.t.Helper()
	var lines strings.Builder
	for _, what := range slices.Sorted(maps.Keys(targets)) {
		fmt.Fprintln(&lines, what, targets[what])
	}
	slices.Sort(want)
	if got := strings.Fields(l.coppice("exec", vm, "--", "python3", "-c", scan, lines.String())); !slices.Equal(got, want) {
		l.t.Errorf("%s reaches %v, want %v", vm, got, want)
	}
}

// uplinks returns the addresses of the host's ends of all uplinks.
func (l *lab) uplinks() (addresses []string) {
	for line := range strings.Lines(l.run("ip", "-n", l.ns, "-o", "-4", "address")) {
		if f := strings.Fields(line); strings.HasPrefix(f[1], "cpv") {
			address, _, _ := strings.Cut(f[3], "/")
			addresses = append(addresses, address)
		}
	}
	return addresses
}

// TestNetwork is the network as its users and their guests meet it: what a guest
// reaches is what the policy says, whatever it tries.
func TestNetwork(t *testing.T) {
	l := newLab(t)
	defer l.purge()
	l.start("--resolvers", labNames, "--egress", "open", "--spares", "0", "--husks", "1")
	l.coppice("create", "--name", "one")
	l.coppice("create", "--name", "two")
	l.coppice("exec", "two", "--", "sh", "-c", "nohup python3 -m http.server 80 >/dev/null 2>&1 &")

	targets := map[string]string{
		"public": labWorld["public.example"] + " 80", "other": labWorld["other.example"] + " 80",
		"inside": labWorld["inside.example"] + " 80", "metadata": labWorld["metadata.example"] + " 80",
		"api": labHost + " " + labPort, "router-api": "198.19.0.1 " + labPort, "router-web": "198.19.0.1 80",
		"self": "198.19.0.2 22", "names": "198.19.0.1 53", // its own, and what it may always ask
	}
	ends := l.uplinks() // those of the two, and of what is made ahead
	if len(ends) < 2 {
		t.Errorf("the uplinks of two VMs are %v", ends)
	}
	for _, end := range ends { // the VM's end is the next address
		targets["uplink-api-"+end] = end + " " + labPort
		targets["uplink-vm-"+end] = netip.MustParseAddr(end).Next().String() + " 80"
	}
	always := []string{"self", "names"}
	named := maps.Clone(targets)
	for name := range labWorld {
		named[name] = name + " 80"
	}
	open := append([]string{"public", "other", "public.example", "other.example"}, always...)
	l.reaches("one", named, open...)
	l.coppice("egress", "one", "0.0.0.0/0")
	l.reaches("one", targets, append([]string{"public", "other", "inside", "metadata"}, always...)...)
	l.coppice("egress", "one", "closed")
	l.reaches("one", targets, "self")
	l.coppice("egress", "one", "other.example,10.9.0.0/16")
	l.reaches("one", targets, append([]string{"inside"}, always...)...)
	l.coppice("exec", "one", "--", "getent", "hosts", "other.example") // from now on its address is known
	l.reaches("one", named, append([]string{"inside", "other", "other.example"}, always...)...)
	l.reaches("two", named, open...)
	l.coppice("egress", "one", "default")

	t.Run("spoofing", func(t *testing.T) { l.with(t).spoofing() })
	t.Run("fork", func(t *testing.T) { l.with(t).forkWhileConnected(named, open) })
	t.Run("daemon", func(t *testing.T) { l.with(t).daemonKilled(named, open) })
	t.Run("idle", func(t *testing.T) { l.with(t).trafficIsActivity() })

	var vm struct{ Network api.Network }
	if err := json.Unmarshal([]byte(l.coppice("get", "one", "--json")), &vm); err != nil {
		t.Fatal(err)
	}
	if n := vm.Network; n.SentBytes < 1000 || n.ReceivedBytes < 1000 || n.Egress != "open" || !n.EgressDefault {
		t.Errorf("the network of a VM that was busy is %+v", n)
	}
	l.coppice("rm", "one", "two", "child")
	if ends := l.uplinks(); len(ends) > 1 { // the husk has one
		t.Errorf("uplinks are left: %v", ends)
	}
}

// with is the lab in a part of a test.
func (l *lab) with(t *testing.T) *lab {
	part := *l
	part.t = t
	return &part
}

// spoofing holds that a guest that takes another address, or another hardware
// address, is not heard.
func (l *lab) spoofing() {
	const send = `
set -e
say() { python3 -c 'import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 0))
s.sendto(sys.argv[2].encode(), ("20.0.0.1", 9))' "$@"; }
ip address add 198.19.0.9/32 dev eth0
say 198.19.0.9 forged-address
say 198.19.0.2 honest
ip link set eth0 address 52:54:00:00:00:99
say 198.19.0.2 forged-hardware
ip link set eth0 address 52:54:00:c0:99:1c
say 198.19.0.2 honest-again
`
	l.coppice("exec", "one", "--", "sh", "-c", send)
	for _, want := range []string{"honest", "honest-again"} {
		if got := l.hears(); got != want {
			l.t.Errorf("the world hears %q, want %q", got, want)
		}
	}
}

// forkWhileConnected holds that a connection of the parent's goes on when it is
// forked, and that the child's network works at once.
func (l *lab) forkWhileConnected(targets map[string]string, want []string) {
	const relay = `import socket, sys
f = socket.create_connection(("20.0.0.1", 7)).makefile("rw")
for line in sys.stdin:
    f.write(line); f.flush(); print(f.readline(), end="", flush=True)`
	cmd := exec.Command("nsenter", l.command("exec", "one", "--", "python3", "-c", relay)...)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	answers := bufio.NewScanner(out)
	say := func(line string) {
		l.t.Helper()
		io.WriteString(in, line+"\n")
		if !answers.Scan() || answers.Text() != line {
			l.t.Fatalf("said %q, the answer is %q, %v", line, answers.Text(), answers.Err())
		}
		if heard := l.hears(); heard != line {
			l.t.Errorf("the world hears %q, want %q", heard, line)
		}
	}
	say("before the fork")
	l.coppice("fork", "one", "--name", "child")
	say("after the fork")
	l.reaches("child", targets, want...)
	say("when the child has been out")
}

// ticking is a program that has something to say to the world, and waits for the answer.
const ticking = `nohup python3 -c '
import socket, time
f = socket.create_connection(("20.0.0.1", 7)).makefile("rw")
while True:
    f.write("tick\n"); f.flush(); f.readline(); time.sleep(0.05)' >/dev/null 2>&1 &`

// trafficIsActivity holds that a VM whose programs move bytes is not idle though
// nobody works in it, and is when they have done.
func (l *lab) trafficIsActivity() {
	l.coppice("exec", "two", "--", "sh", "-c", ticking)
	l.coppice("start", "two", "--idle-timeout", "5s")
	for began := time.Now(); time.Since(began) < 12*time.Second; {
		if tick := l.hears(); tick != "tick" {
			l.t.Errorf("the world hears %q", tick)
		}
	}
	state := func() string { return l.coppice("get", "two", "--json") }
	if got := state(); !strings.Contains(got, `"state": "running"`) {
		l.t.Errorf("a VM with traffic is not running: %s", got)
	}
	l.coppice("exec", "two", "--", "pkill", "-f", "tick")
	for end := time.Now().Add(callDeadline); !strings.Contains(state(), `"state": "suspended"`); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("without traffic it is not suspended: %s", state())
		}
	}
}

// daemonKilled holds that what a guest is connected to goes on without the
// daemon, and that the policy is the same with the next one.
func (l *lab) daemonKilled(targets map[string]string, want []string) {
	l.coppice("exec", "one", "--", "sh", "-c", ticking)
	l.coppice("egress", "child", "closed")
	l.hears()
	l.kill()
	for len(l.heard) > 0 { // of before
		<-l.heard
	}
	for range 10 {
		if tick := l.hears(); tick != "tick" {
			l.t.Errorf("the world hears %q", tick)
		}
	}
	l.start("--resolvers", labNames, "--egress", "open", "--spares", "0", "--husks", "1")
	l.reaches("one", targets, want...)
	l.reaches("child", targets, "self")
	l.coppice("exec", "one", "--", "pkill", "-f", "tick")
}
