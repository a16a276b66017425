//go:build failpoints

package sweep_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/coppice-vm/coppice"
	realguest "github.com/coppice-vm/coppice/guest"
	"github.com/coppice-vm/coppice/guest/wire"
	"github.com/coppice-vm/coppice/lifecycle"
	"github.com/coppice-vm/coppice/mem"
)

// A lie is what an agent does instead of its work. It is told at one of these
// stages, and all before it are honest.
type lie struct {
	name string
	// port is told before the host is greeted.
	port func(net.Conn)
	// conn is what the agent says by, once it has greeted the host.
	conn func(io.ReadWriteCloser) io.ReadWriteCloser
	// identity answers an identity, request every other request.
	identity, request func(net.Conn)
}

// lies are those that can be told at every stage; those of the adapter's own
// tests cost no time and no state, and are not told here again.
func lies() []lie {
	all := []lie{
		{name: "says nothing", port: silence},
		{name: "talks nonsense", port: func(c net.Conn) { flood(c, []byte("\x00nonsense")) }},
		{name: "greets another host", port: func(c net.Conn) {
			c.Write([]byte("\xF5\x01G\x01another's epoch!")) // as the answer to a host before
			silence(c)
		}},
		{name: "hangs up", port: func(net.Conn) {}},
		{name: "deafness for an answer", request: deafness},
		{name: "a listing in drips for an answer", request: drips(wire.FileInfo{Mode: fs.ModeDir}, "fname\x00")},
		{name: "a listing of nothing for an answer", request: drips(wire.FileInfo{Mode: fs.ModeDir}, "")},
		{name: "a file in drips for an answer", request: drips(wire.FileInfo{}, "x")},
		{name: "a file of nothing for an answer", request: drips(wire.FileInfo{}, "")},
		{name: "says everything twice", conn: func(c io.ReadWriteCloser) io.ReadWriteCloser { return twice{c} }},
		{name: "answers other streams", conn: func(c io.ReadWriteCloser) io.ReadWriteCloser { return elsewhere{c} }},
		{name: "hangs up in a frame", conn: func(c io.ReadWriteCloser) io.ReadWriteCloser { return &cutOff{ReadWriteCloser: c, left: 30} }},
	}
	for name, tell := range map[string]func(net.Conn){
		"silence":             silence,
		"a frame without end": func(c net.Conn) { io.WriteString(c, "d\xFF\xFF\xFF\xFF"); silence(c) },
		"half a frame":        func(c net.Conn) { io.WriteString(c, "h\x00\x00\x01\x00{") },
		"a status of 2^40":    func(c net.Conn) { wire.WriteJSON(c, wire.Head, wire.Exited{Code: 1 << 40}) },
		"a clock of 2^63-1":   func(c net.Conn) { wire.WriteJSON(c, wire.Head, wire.Clock{Now: math.MaxInt64}); silence(c) },
		"an error": func(c net.Conn) {
			wire.WriteJSON(c, wire.Fail, wire.Error{Cause: "of no kind", Message: strings.Repeat("\x1b[2J", 1000)})
		},
		"output without end": func(c net.Conn) {
			var frame bytes.Buffer
			wire.Write(&frame, wire.Data, make([]byte, 1000))
			flood(c, frame.Bytes())
		},
	} {
		all = append(all, lie{name: name + " for an identity", identity: tell}, lie{name: name + " for an answer", request: tell})
	}
	return all
}

// drips says something again and again, after an answer.
func drips(answer any, what string) func(net.Conn) {
	return func(c net.Conn) {
		wire.WriteJSON(c, wire.Head, answer)
		go io.Copy(io.Discard, c)
		for wire.Write(c, wire.Data, []byte(what)) == nil {
			time.Sleep(20 * time.Second)
		}
	}
}

// deafness says nothing and reads nothing, until the host has hung up.
func deafness(c net.Conn) { <-c.(*yamux.Stream).Session().CloseChan() }

// silence says nothing, until the host has had enough.
func silence(c net.Conn) { io.Copy(io.Discard, c) }

// flood says something without end, and not all at once: the clock of the tests
// stands still while anybody does anything.
func flood(c net.Conn, what []byte) {
	go io.Copy(io.Discard, c)
	for {
		if _, err := c.Write(what); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

type twice struct{ io.ReadWriteCloser }

func (t twice) Write(p []byte) (int, error) {
	t.ReadWriteCloser.Write(p)
	return t.ReadWriteCloser.Write(p)
}

// elsewhere says everything on streams that the host has not opened.
type elsewhere struct{ io.ReadWriteCloser }

func (e elsewhere) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	binary.BigEndian.PutUint32(p[4:], 1001) // yamux's header: version, type, flags, stream, length
	return e.ReadWriteCloser.Write(p)
}

// cutOff hangs up after so many bytes.
type cutOff struct {
	io.ReadWriteCloser
	left int
}

func (c *cutOff) Write(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Write(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 {
		c.Close()
		return n, io.ErrClosedPipe
	}
	return n, err
}

// agents are those of a host's machines: they speak what real ones do, and are
// honest but for those that tell a lie.
type agents struct {
	hv *mem.Hypervisor

	mu    sync.Mutex
	lie   lie
	lying func(coppice.VMID) bool // nil is nobody
	conns map[coppice.VMID]net.Conn
	told  int
}

// turn has agents lie from now on, with whom the host has to connect anew.
func (a *agents) turn(l lie, lying func(coppice.VMID) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lie, a.lying = l, lying
	for id, conn := range a.conns {
		if lying(id) {
			conn.Close()
		}
	}
}

// tells returns the lie that a VM's agent tells; of an honest one it has no stages.
func (a *agents) tells(id coppice.VMID) lie {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lying == nil || !a.lying(id) {
		return lie{}
	}
	return a.lie
}

func (a *agents) tell() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told++
}

// tally returns how many lies were told.
func (a *agents) tally() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.told
}

// serve is the agent of a VM.
func (a *agents) serve(id coppice.VMID, port net.Conn) {
	defer port.Close()
	if l := a.tells(id); l.port != nil {
		a.tell()
		l.port(port)
		return
	}
	conn, err := wire.NewListener(port).Accept()
	if err != nil {
		return
	}
	var said io.ReadWriteCloser = conn
	if l := a.tells(id); l.conn != nil {
		a.tell()
		said = l.conn(hangUp{conn, port})
	}
	mux, err := wire.Server(said)
	if err != nil {
		return
	}
	defer mux.Close()
	for {
		stream, err := mux.AcceptStream()
		if err != nil {
			return
		}
		go a.answer(id, stream)
	}
}

// hangUp is a connection whose port closes with it.
type hangUp struct {
	io.ReadWriteCloser
	port net.Conn
}

func (h hangUp) Close() error { return errors.Join(h.ReadWriteCloser.Close(), h.port.Close()) }

func (a *agents) answer(id coppice.VMID, stream net.Conn) {
	defer stream.Close()
	frames := wire.NewReader(stream)
	var req wire.Request
	if frames.Answer(&req) != nil {
		return
	}
	tell := a.tells(id).request
	if req.Op == wire.OpIdentify {
		tell = a.tells(id).identity
	}
	if tell != nil {
		a.tell()
		tell(stream)
		return
	}
	switch req.Op {
	case wire.OpIdentify, wire.OpClock:
		for step := (wire.Step{}); !step.Last; {
			if frames.Answer(&step) != nil {
				return
			}
			if !step.Last {
				wire.WriteJSON(stream, wire.Head, wire.Clock{Now: time.Now().UnixNano()})
			}
		}
		wire.WriteJSON(stream, wire.Head, wire.Identified{})
	case wire.OpExec:
		wire.WriteJSON(stream, wire.Head, wire.Exited{})
	case wire.OpOpen:
		wire.WriteJSON(stream, wire.Head, wire.FileInfo{})
		wire.Write(stream, wire.End, nil)
	case wire.OpWrite:
		for end := false; !end; {
			frame, err := frames.Next(wire.MaxFrame)
			end = err != nil || frame.Kind == wire.End
		}
		wire.WriteJSON(stream, wire.Head, wire.Done{})
	case wire.OpTerminals:
		wire.Write(stream, wire.End, nil)
	case wire.OpTerminal:
		wire.WriteJSON(stream, wire.Head, wire.Attached{TerminalInfo: wire.TerminalInfo{ID: req.Terminal.ID, Size: req.Terminal.Size}})
		wire.WriteJSON(stream, wire.Head, wire.Ended{})
	case wire.OpDial:
		wire.WriteJSON(stream, wire.Head, wire.Done{})
		wire.Write(stream, wire.End, nil)
	case wire.OpShutdown:
		wire.WriteJSON(stream, wire.Head, wire.Done{})
		a.hv.End(id, coppice.Exit{Kind: coppice.ExitPowerOff})
	}
}

// agentHypervisor is a hypervisor whose machines have agents.
type agentHypervisor struct {
	*mem.Hypervisor
	agents *agents
}

func (h agentHypervisor) Start(ctx context.Context, m coppice.Machine) (coppice.Run, error) {
	return h.with(m.VM)(h.Hypervisor.Start(ctx, m))
}

func (h agentHypervisor) Attach(ctx context.Context, id coppice.VMID) (coppice.Run, error) {
	return h.with(id)(h.Hypervisor.Attach(ctx, id))
}

func (h agentHypervisor) with(id coppice.VMID) func(coppice.Run, error) (coppice.Run, error) {
	return func(r coppice.Run, err error) (coppice.Run, error) {
		if err != nil {
			return nil, err
		}
		return agentRun{r, id, h.agents}, nil
	}
}

type agentRun struct {
	coppice.Run
	id     coppice.VMID
	agents *agents
}

func (r agentRun) DialAgent(ctx context.Context) (net.Conn, error) {
	process, err := r.Run.DialAgent(ctx) // which ends with the process
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	r.agents.mu.Lock()
	r.agents.conns[r.id] = far
	r.agents.mu.Unlock()
	go func() {
		io.Copy(io.Discard, process)
		far.Close()
	}()
	go func() {
		defer process.Close()
		r.agents.serve(r.id, far)
	}()
	return near, nil
}

// A parley is a host whose machines have agents, and its daemon.
type parley struct {
	ctx    context.Context
	agents *agents
	hv     *mem.Hypervisor
	net    *mem.Network
	config lifecycle.Config
	*lifecycle.Manager
}

func newParley(ctx context.Context) (*parley, error) {
	pool, store := mem.NewPool(coppice.Image{ID: image, Disk: "images/image/disk.raw", DiskMiB: 1}), mem.NewStore()
	p := &parley{ctx: ctx, hv: mem.NewHypervisor(pool), net: mem.NewNetwork()}
	p.agents = &agents{hv: p.hv, conns: map[coppice.VMID]net.Conn{}}
	log := slog.New(slog.DiscardHandler)
	p.config = lifecycle.Config{
		Store: store, Captures: store, Quotas: store, History: store, Pool: pool, Network: p.net, Gauge: mem.NewGauge(),
		Hypervisor: agentHypervisor{p.hv, p.agents}, Guest: realguest.New(log), Log: log,
		Egress: coppice.EgressOpen, Image: image, Size: defaultSize, HostBoot: "boot", KeepHistory: time.Hour,
	}
	return p, p.open()
}

func (p *parley) open() (err error) {
	p.Manager, err = lifecycle.Open(p.ctx, p.config)
	return err
}

// leave has the daemon leave at once.
func (p *parley) leave() {
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	p.Close(ctx)
}

// end has the daemon leave, and every VM's process end.
func (p *parley) end() {
	p.leave()
	ids, _ := p.hv.Runs(p.ctx)
	for _, id := range ids {
		p.hv.Discard(p.ctx, id)
	}
}

func (p *parley) create() (coppice.VMID, error) {
	never := 24 * time.Hour // is it reclaimed
	vm, err := p.Create(p.ctx, coppice.NewVM{Account: alice, IdleTimeout: &never})
	return vm.ID, err
}

// errBelieved is that something was believed that cannot be.
var errBelieved = errors.New("a lie was believed")

// inside does something by the session of a VM.
func inside(do func(context.Context, coppice.Session) error) func(*parley, coppice.VMID) error {
	return func(p *parley, id coppice.VMID) error {
		session, release, err := p.Use(p.ctx, alice, id, "test")
		if err != nil {
			return err
		}
		defer release()
		return do(p.ctx, session)
	}
}

// run has a command run in a VM.
func (p *parley) run(id coppice.VMID) error { return inside(command)(p, id) }

func command(ctx context.Context, session coppice.Session) error {
	status, err := session.Exec(ctx, coppice.ExecSpec{Command: "true", Timeout: 10 * time.Second}, coppice.Stdio{})
	if err == nil && !status.TimedOut && status.Code != 0 {
		return fmt.Errorf("%w: a status of %d", errBelieved, status.Code)
	}
	return err
}

// file reads a file, or lists a directory.
func file(ctx context.Context, s coppice.Session) error {
	f, err := s.Files("").Open(ctx, "file")
	if err != nil || f.Dir {
		return err
	}
	defer f.Content.Close()
	_, err = io.Copy(io.Discard, f.Content)
	return err
}

// terminal opens a terminal and looks at it for a while.
func terminal(ctx context.Context, s coppice.Session) error {
	t, err := s.Terminals("").Open(ctx, coppice.TerminalSpec{ID: "x", Size: coppice.TerminalSize{Cols: 80, Rows: 24}})
	if err != nil {
		return err
	}
	defer time.AfterFunc(time.Minute, func() { t.Close() }).Stop()
	_, err = io.Copy(io.Discard, t)
	return err
}

// connection connects to a port in the guest and reads for a while.
func connection(ctx context.Context, s coppice.Session) error {
	c, err := s.Dial(ctx, "", "tcp", "localhost:80")
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	_, err = io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // it lasts as long as one likes
	}
	return err
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A talk is something that has the host speak to agents.
type talk struct {
	name string
	// before brings a VM to where it begins; nil is one that runs.
	before func(*parley, coppice.VMID) (coppice.VM, error)
	act    func(*parley, coppice.VMID) error
	// others says that those lie that are made, and not the VM itself; works that
	// it is done whatever the agent says; asks that more is said than who the guest is.
	// commands says that it is an agent's answer that is returned.
	others, works, asks, commands bool
	// within is how long it may take; 0 is answerTime.
	within time.Duration
}

func talks() []talk {
	verb := func(do func(*lifecycle.Manager, context.Context, coppice.AccountID, coppice.VMID) (coppice.VM, error)) func(*parley, coppice.VMID) (coppice.VM, error) {
		return func(p *parley, id coppice.VMID) (coppice.VM, error) { return do(p.Manager, p.ctx, alice, id) }
	}
	fails := func(do func(*parley, coppice.VMID) (coppice.VM, error)) func(*parley, coppice.VMID) error {
		return func(p *parley, id coppice.VMID) error {
			_, err := do(p, id)
			return err
		}
	}
	stop, suspend := verb((*lifecycle.Manager).Stop), verb((*lifecycle.Manager).Suspend)
	start := fails(func(p *parley, id coppice.VMID) (coppice.VM, error) {
		return p.Start(p.ctx, alice, id, coppice.StartOptions{})
	})
	create := func(spec coppice.NewVM) func(*parley, coppice.VMID) error {
		spec.Account = alice
		return func(p *parley, _ coppice.VMID) error {
			_, err := p.Create(p.ctx, spec)
			return err
		}
	}
	return []talk{
		{name: "create", act: create(coppice.NewVM{}), others: true},
		{name: "create of another size", act: create(coppice.NewVM{Size: coppice.Size{MemoryMiB: 1024}}), others: true, asks: true},
		{name: "start", before: stop, act: start},
		{name: "resume", before: suspend, act: start},
		{name: "resume by use", before: suspend, act: (*parley).run, asks: true, commands: true},
		{name: "command", act: (*parley).run, asks: true, commands: true, within: time.Minute},
		{name: "command, to another daemon", before: func(p *parley, _ coppice.VMID) (vm coppice.VM, err error) {
			p.leave()
			return vm, p.open()
		}, act: (*parley).run, asks: true, commands: true, within: time.Minute},
		{name: "file", act: inside(file), asks: true, commands: true},
		{name: "file that is written", act: inside(func(ctx context.Context, s coppice.Session) error {
			return s.Files("").Write(ctx, "file", 0o644, io.LimitReader(zeros{}, 1<<20))
		}), asks: true, commands: true, within: workTime},
		{name: "terminals", act: inside(func(ctx context.Context, s coppice.Session) error {
			_, err := s.Terminals("").List(ctx)
			return err
		}), asks: true, commands: true, within: workTime},
		{name: "terminal", act: inside(terminal), asks: true, commands: true, within: workTime},
		{name: "connection", act: inside(connection), asks: true, commands: true, within: workTime},
		{name: "fork", act: func(p *parley, id coppice.VMID) error {
			forks, err := p.Fork(p.ctx, alice, id, coppice.ForkSpec{Count: 2})
			for _, f := range forks {
				err = errors.Join(err, f.Err)
			}
			return err
		}, others: true},
		{name: "fork of one that lies", act: func(p *parley, id coppice.VMID) error {
			honest := func(other coppice.VMID) bool { return other == id }
			p.agents.turn(p.agents.tells(id), honest)
			_, err := p.Fork(p.ctx, alice, id, coppice.ForkSpec{Count: 1})
			time.Sleep(clockTime)
			return err
		}, works: true, asks: true},
		{name: "snapshot", act: func(p *parley, id coppice.VMID) error {
			c, err := p.TakeSnapshot(p.ctx, alice, id, "", coppice.Persistence{})
			if err == nil {
				time.Sleep(clockTime)
				err = p.DeleteSnapshot(p.ctx, alice, c.ID)
			}
			return err
		}, works: true, asks: true},
		{name: "stop", act: fails(stop), works: true, asks: true, within: stopTime},
		{name: "resize", act: func(p *parley, id coppice.VMID) error {
			memory := int64(1024)
			_, err := p.Resize(p.ctx, alice, id, coppice.ResizeSpec{MemoryMiB: &memory})
			return err
		}, asks: true, within: 2 * answerTime}, // it boots again if it does not boot
		{name: "reboot", act: func(p *parley, id coppice.VMID) error {
			was, err := p.VM(p.ctx, alice, id)
			if err != nil {
				return err
			}
			p.hv.End(id, coppice.Exit{Kind: coppice.ExitReboot})
			for {
				time.Sleep(time.Second)
				vm, err := p.VM(p.ctx, alice, id)
				switch {
				case err != nil:
					return err
				case vm.Verb == coppice.Idle && vm.State == coppice.Running && vm.Instance != was.Instance:
					return nil
				case vm.Verb == coppice.Idle && vm.State != coppice.Running:
					return coppice.Errorf(coppice.CodeVMNotRunning, "%s", vm.Reason)
				}
			}
		}},
	}
}

const (
	// answerTime is longer than a boot may take, and what is taken back.
	answerTime = 6 * time.Minute
	// clockTime is longer than the clock of a guest may take to be set, when it has
	// been captured and somebody answered.
	clockTime = 20 * time.Second
	// workTime is longer than what is asked of a guest may take that does not answer,
	// or cannot be connected with.
	workTime = 150 * time.Second
	// stopTime is longer than a guest may take that is asked to shut down.
	stopTime = 90 * time.Second
)

// TestLyingAgents has the agents of VMs lie to whatever speaks to them. Every call
// is answered in its time, with a code where it fails; a VM whose agent lies can
// be stopped and deleted, another works all the while, and nothing is left.
func TestLyingAgents(t *testing.T) {
	// yamux keeps timers for whoever comes next, who must not be in another bubble.
	runtime.GC()
	runtime.GC()
	synctest.Test(t, func(t *testing.T) {
		var all sync.WaitGroup
		var told atomic.Int64
		for _, l := range lies() {
			for _, k := range talks() {
				if l.request != nil && !k.asks {
					continue
				}
				all.Go(func() {
					n, err := lieTo(t.Context(), l, k)
					if err != nil {
						t.Errorf("%s, at a %s: %v", l.name, k.name, err)
					}
					told.Add(int64(n))
				})
			}
		}
		all.Wait()
		t.Logf("%d lies were told, of %d kinds, at %d kinds of talk", told.Load(), len(lies()), len(talks()))
	})
}

// lieTo has agents lie when something is talked about, and returns how often.
func lieTo(ctx context.Context, l lie, k talk) (told int, err error) {
	p, err := newParley(ctx)
	if err != nil {
		return 0, err
	}
	defer p.end()
	neighbour, err := p.create()
	if err != nil {
		return 0, err
	}
	subject, err := p.create()
	if err == nil && k.before != nil {
		_, err = k.before(p, subject)
	}
	if err != nil {
		return 0, err
	}
	p.agents.turn(l, func(id coppice.VMID) bool { return id != neighbour && (id == subject) != k.others })

	acted := make(chan error, 1)
	go func() { acted <- k.act(p, subject) }()
	answer, err := p.servedUntil(neighbour, acted, cmp.Or(k.within, answerTime))
	if err != nil {
		return 0, err
	}
	told = p.agents.tally()
	_, coded := errors.AsType[*coppice.Error](answer)
	unsaid := answer != nil && coppice.CodeOf(answer) == coppice.CodeInternal
	if k.commands && !coded { // which is in the words of the agent, or of nobody's
		unsaid = answer != nil && !errors.Is(answer, coppice.ErrGuestGone) && !errors.As(answer, new(*wire.Error))
	}
	switch {
	case told == 0:
		return 0, fmt.Errorf("nobody heard the lie; it was answered %v", answer)
	case unsaid, answer != nil && k.works, errors.Is(answer, errBelieved):
		return told, fmt.Errorf("it was answered %v", answer)
	}
	vms, err := p.VMs(ctx, alice, false)
	for _, vm := range vms {
		if vm.ID != neighbour {
			err = errors.Join(err, p.goes(&vm))
		}
	}
	return told, errors.Join(err, p.remains(neighbour))
}

// servedUntil has a VM serve until something is answered in its time, and returns that.
func (p *parley) servedUntil(id coppice.VMID, acted <-chan error, within time.Duration) (answer, err error) {
	for began := time.Now(); ; {
		asked := time.Now()
		if err := p.run(id); err != nil || time.Since(asked) > time.Second {
			return nil, fmt.Errorf("another VM was served after %v: %v", time.Since(asked), err)
		}
		select {
		case answer := <-acted:
			return answer, nil
		case <-time.After(10 * time.Second):
		}
		if time.Since(began) > within {
			return nil, fmt.Errorf("it is not answered after %v", time.Since(began))
		}
	}
}

// goes holds that a VM can be stopped and deleted.
func (p *parley) goes(vm *coppice.VM) error {
	if vm.Verb != coppice.Idle {
		return fmt.Errorf("VM %s is %s, and its %s is in flight", vm.ID, vm.State, vm.Verb)
	}
	began := time.Now()
	_, err := p.Stop(p.ctx, alice, vm.ID)
	if err != nil && coppice.CodeOf(err) != coppice.CodeVMNotRunning || time.Since(began) > stopTime {
		return fmt.Errorf("a VM that is %s was stopped after %v: %v", vm.State, time.Since(began), err)
	}
	began = time.Now()
	if _, err := p.Delete(p.ctx, alice, vm.ID); err != nil || time.Since(began) > time.Second {
		return fmt.Errorf("it was deleted after %v: %v", time.Since(began), err)
	}
	return nil
}

// remains holds that one VM is there, which works, and nothing else.
func (p *parley) remains(id coppice.VMID) error {
	time.Sleep(time.Minute) // for what nobody waits for
	err := p.run(id)
	runs, runsErr := p.hv.Runs(p.ctx)
	networks, netErr := p.net.Networks(p.ctx)
	if err = errors.Join(err, runsErr, netErr); err != nil || !slices.Equal(runs, []coppice.VMID{id}) || !slices.Equal(networks, runs) {
		return fmt.Errorf("there are runs of %v and networks of %v, and one VM: %v", runs, networks, err)
	}
	return nil
}
