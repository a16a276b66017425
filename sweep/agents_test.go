//go:build failpoints

package sweep_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
	"github.com/coppice-vm/coppice/mem"
)

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
