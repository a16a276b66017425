package conformance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

// A NetworkHost is where networks are examined.
type NetworkHost struct {
	// Open returns a network of the host, as a daemon that starts does. The one
	// returned before is of a daemon that is gone.
	Open func() coppice.Network
	// Plug attaches a guest to a VM's network.
	Plug func(coppice.VMID) NetworkGuest
	// World are hosts that echo what they are sent, by name: "public.example",
	// "other.example" and "deep.in.example", which are public, and
	// "inside.example", which is not.
	World map[string]netip.Addr
}

// A NetworkGuest is what a VM's network is set up for.
type NetworkGuest interface {
	// Listen returns what listens on a TCP port of the guest.
	Listen(port uint16) (net.Listener, error)
	// Resolve asks for the address of a name.
	Resolve(ctx context.Context, name string) (netip.Addr, error)
	// Connect connects to a host of the world.
	Connect(ctx context.Context, addr netip.Addr) (net.Conn, error)
	// Unplug detaches the guest. Again it does nothing.
	Unplug()
}

// unreachable is how long a guest tries what is not to work.
const unreachable = 2 * time.Second

// TestNetwork examines a network on a host.
func TestNetwork(t *testing.T, host NetworkHost) {
	e := &networkExam{NetworkHost: host, n: host.Open()}
	for _, test := range []struct {
		name string
		test func(*testing.T, *networkExam)
	}{
		{"sets up and tears down", setsUp},
		{"dials into a guest", dials},
		{"tells guests apart", tellsApart},
		{"waits for a guest", dialWaits},
		{"ends connections when it tears down", tearDownEnds},
		{"finds networks of an earlier daemon", networksSurvive},
		{"lets out what is allowed", letsOut},
		{"changes a policy live", changesLive},
		{"counts traffic", countsTraffic},
		{"tells what is there", networkTraces},
	} {
		t.Run(test.name, func(t *testing.T) {
			e.t = t
			test.test(t, e)
		})
	}
	if left, err := e.n.Networks(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("networks left at the end: %v, %v", left, err)
	}
}

// A networkExam is an exam in progress.
type networkExam struct {
	NetworkHost
	t *testing.T
	n coppice.Network
}

// vm sets up the network of a VM with a guest, which is gone at the end of the test.
func (e *networkExam) vm(egress coppice.Egress) (coppice.VMID, NetworkGuest) {
	t := e.t
	t.Helper()
	id := coppice.NewVMID()
	must(t, e.n.SetUp(t.Context(), id, egress))
	guest := e.Plug(id)
	t.Cleanup(func() {
		guest.Unplug()
		if err := e.n.TearDown(context.Background(), id); err != nil {
			t.Errorf("tear down at the end: %v", err)
		}
	})
	return id, guest
}

// echo has a guest echo, after a word of its own, what it is sent on a port.
func (e *networkExam) echo(guest NetworkGuest, port uint16, word string) {
	e.t.Helper()
	l, err := guest.Listen(port)
	must(e.t, err)
	e.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.WriteString(conn, word)
				io.Copy(conn, conn)
			}()
		}
	}()
}

// dial connects to a guest's port.
func (e *networkExam) dial(id coppice.VMID, port uint16) net.Conn {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), 10*time.Second)
	defer cancel()
	conn, err := e.n.Dial(ctx, id, port)
	must(e.t, err)
	e.t.Cleanup(func() { conn.Close() })
	must(e.t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return conn
}

// says sends text, says that this was all, and checks the answer.
func (e *networkExam) says(conn net.Conn, text, want string) {
	e.t.Helper()
	_, err := io.WriteString(conn, text)
	must(e.t, err)
	must(e.t, conn.(interface{ CloseWrite() error }).CloseWrite())
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != want {
		e.t.Errorf("the guest says %q, %v; want %q", got, err, want)
	}
}

// reach reports whether the guest gets through to a host and back.
func (e *networkExam) reach(guest NetworkGuest, name string) bool {
	ctx, cancel := context.WithTimeout(e.t.Context(), unreachable)
	defer cancel()
	conn, err := guest.Connect(ctx, e.World[name])
	if err != nil {
		return false
	}
	defer conn.Close()
	return echoes(conn)
}

// echoes reports whether what is at the other end of a connection still echoes.
func echoes(conn net.Conn) bool {
	conn.SetDeadline(time.Now().Add(unreachable))
	sent := []byte("there and back")
	if _, err := conn.Write(sent); err != nil {
		return false
	}
	got := make([]byte, len(sent))
	_, err := io.ReadFull(conn, got)
	return err == nil && bytes.Equal(got, sent)
}

// reaches checks which hosts of the world a guest reaches by address.
func (e *networkExam) reaches(guest NetworkGuest, want ...string) {
	e.t.Helper()
	for name := range e.World {
		if got := e.reach(guest, name); got != slices.Contains(want, name) {
			e.t.Errorf("the guest reaches %s: %v", name, got)
		}
	}
}

// resolves checks which names of the world are resolved for a guest.
func (e *networkExam) resolves(guest NetworkGuest, want ...string) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), 10*time.Second)
	defer cancel()
	for name, addr := range e.World {
		got, err := guest.Resolve(ctx, name)
		if allowed := slices.Contains(want, name); allowed != (err == nil) || allowed && got != addr {
			e.t.Errorf("%s is resolved to %v, %v; want that to work: %v", name, got, err, allowed)
		}
	}
}

func setsUp(t *testing.T, e *networkExam) {
	id, none := coppice.NewVMID(), coppice.NewVMID()
	lists := func(want ...coppice.VMID) {
		t.Helper()
		if got, err := e.n.Networks(t.Context()); err != nil || !slices.Equal(got, want) {
			t.Errorf("networks are %v, %v; want %v", got, err, want)
		}
	}
	lists()
	for _, egress := range []coppice.Egress{coppice.EgressClosed, coppice.EgressClosed, coppice.EgressOpen, coppice.EgressOpen} {
		must(t, e.n.SetUp(t.Context(), id, egress))
		lists(id)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.n.SetUp(over, none, coppice.EgressOpen); !errors.Is(err, context.Canceled) {
		t.Errorf("set up after its time: %v, want the context's error", err)
	}
	for range 2 {
		must(t, e.n.TearDown(t.Context(), id))
		must(t, e.n.TearDown(t.Context(), none))
		lists()
	}
	if _, err := e.n.Dial(t.Context(), id, 80); !errors.Is(err, coppice.ErrNoNetwork) {
		t.Errorf("dial: %v, want ErrNoNetwork", err)
	}
	if _, err := e.n.Traffic(t.Context(), id); !errors.Is(err, coppice.ErrNoNetwork) {
		t.Errorf("traffic: %v, want ErrNoNetwork", err)
	}
}

func dials(t *testing.T, e *networkExam) {
	id, guest := e.vm(coppice.EgressClosed)
	e.echo(guest, 80, "hello ")
	conn := e.dial(id, 80)
	other := e.dial(id, 80)
	done := make(chan struct{})
	go func() { // wherever the connection was made, it is used elsewhere
		defer close(done)
		e.says(conn, "world", "hello world")
	}()
	<-done
	e.says(other, "", "hello ")
	if _, err := e.n.Dial(t.Context(), id, 81); !errors.Is(err, coppice.ErrRefused) {
		t.Errorf("a port that nobody listens on: %v, want ErrRefused", err)
	}
}

func tellsApart(t *testing.T, e *networkExam) {
	one, guest := e.vm(coppice.EgressClosed)
	two, twin := e.vm(coppice.EgressOpen)
	e.echo(guest, 80, "one")
	e.echo(twin, 80, "two")
	e.says(e.dial(one, 80), "", "one")
	e.says(e.dial(two, 80), "", "two")
}

// dialWaits holds that a guest which is not there does not refuse.
func dialWaits(t *testing.T, e *networkExam) {
	id, guest := e.vm(coppice.EgressClosed)
	e.echo(guest, 80, "")
	guest.Unplug()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	conn, err := e.n.Dial(ctx, id, 80)
	if err == nil {
		conn.Close() // a guest that cannot be unplugged
	} else if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial: %v, want the context's error", err)
	}
}

func tearDownEnds(t *testing.T, e *networkExam) {
	id, guest := e.vm(coppice.EgressOpen)
	e.echo(guest, 80, "")
	conn := e.dial(id, 80)
	if !echoes(conn) {
		t.Fatal("the guest does not echo")
	}
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	guest.Unplug()
	must(t, e.n.TearDown(t.Context(), id))
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a read after the network was torn down: %v, want one that says that the connection ended", err)
	}
}

func networksSurvive(t *testing.T, e *networkExam) {
	id, guest := e.vm("public.example")
	e.echo(guest, 80, "still here")
	e.resolves(guest, "public.example")
	conn, err := guest.Connect(t.Context(), e.World["public.example"])
	must(t, err)
	defer conn.Close()
	e.n = e.Open()
	if got, err := e.n.Networks(t.Context()); err != nil || !slices.Equal(got, []coppice.VMID{id}) {
		t.Errorf("networks are %v, %v; want %v", got, err, id)
	}
	e.says(e.dial(id, 80), "", "still here")
	if !echoes(conn) {
		t.Errorf("the guest's connection has ended")
	}
	e.reaches(guest, "public.example")
	must(t, e.n.SetUp(t.Context(), id, "public.example"))
	if !echoes(conn) {
		t.Errorf("the guest's connection has ended with the set-up")
	}
	e.resolves(guest, "public.example")
	e.reaches(guest, "public.example")
}

func letsOut(t *testing.T, e *networkExam) {
	all := []string{"public.example", "other.example", "deep.in.example", "inside.example"}
	inside := e.World["inside.example"].String()
	for _, test := range []struct {
		egress   string
		resolves []string
		reaches  []string
		then     []string // once it has resolved what it can
	}{
		{"closed", nil, nil, nil},
		{"open", all, all[:3], all[:3]},
		{"open," + inside, all, all, all},
		{inside, nil, all[3:], all[3:]},
		{e.World["other.example"].String(), nil, all[1:2], all[1:2]},
		{"public.example", all[:1], nil, all[:1]},
		{"*.in.example,other.example", all[1:3], nil, all[1:3]},
		{"inside.example", all[3:], nil, nil},
		{"0.0.0.0/0", nil, all, all},
	} {
		t.Run(test.egress, func(t *testing.T) {
			e.t = t
			egress, err := coppice.ParseEgress(test.egress)
			must(t, err)
			_, guest := e.vm(egress)
			e.reaches(guest, test.reaches...)
			e.resolves(guest, test.resolves...)
			e.reaches(guest, test.then...)
		})
	}
}

func changesLive(t *testing.T, e *networkExam) {
	id, guest := e.vm(coppice.EgressOpen)
	conns := map[string]net.Conn{}
	for _, name := range []string{"public.example", "other.example"} {
		conn, err := guest.Connect(t.Context(), e.World[name])
		must(t, err)
		defer conn.Close()
		conns[name] = conn
	}
	set := func(egress string) {
		t.Helper()
		parsed, err := coppice.ParseEgress(egress)
		must(t, err)
		must(t, e.n.SetUp(t.Context(), id, parsed))
	}
	set(e.World["other.example"].String() + ",public.example")
	if echoes(conns["public.example"]) {
		t.Errorf("a connection to what is not allowed any more goes on")
	}
	if !echoes(conns["other.example"]) {
		t.Errorf("a connection to what is still allowed has ended")
	}
	e.resolves(guest, "public.example")
	e.reaches(guest, "public.example", "other.example")
	set("public.example,*.in.example")
	if echoes(conns["other.example"]) {
		t.Errorf("a connection to what is not allowed any more goes on")
	}
	e.reaches(guest, "public.example") // what was resolved is allowed as long as its name is
	set("closed")
	e.reaches(guest)
	e.resolves(guest)
	set("open")
	e.reaches(guest, "public.example", "other.example", "deep.in.example")
}

func countsTraffic(t *testing.T, e *networkExam) {
	id, guest := e.vm(coppice.EgressClosed)
	e.echo(guest, 80, string(make([]byte, 100<<10)))
	before, err := e.n.Traffic(t.Context(), id)
	must(t, err)
	conn := e.dial(id, 80)
	_, err = conn.Write(make([]byte, 50<<10))
	must(t, err)
	_, err = io.CopyN(io.Discard, conn, 150<<10)
	must(t, err)
	after, err := e.n.Traffic(t.Context(), id)
	must(t, err)
	sent, received := after.Sent-before.Sent, after.Received-before.Received
	if sent < 150<<10 || sent > 200<<10 || received < 50<<10 || received > 100<<10 {
		t.Errorf("sent %d, received %d bytes; it was 150 and 50 KiB", sent, received)
	}
}
