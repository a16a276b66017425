package http

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/internal/moving"
)

const (
	// replayPiece is the most of a screen that is sent as one message.
	replayPiece = 1 << 20
	// pulse is how often a client is asked for a sign of life, and how long it has
	// for it: the size of one that is gone should not count for long.
	pulse = 30 * time.Second
	// maxBreaks is how often in a row a terminal that shows nothing is attached to anew.
	maxBreaks = 5
)

// interrupt is the byte that a terminal takes for an interrupt.
var interrupt = []byte{0x03}

// A view is a WebSocket that is attached to a terminal, as long as the VM runs.
type view struct {
	server  *Server
	request *http.Request
	who     caller
	conn    *websocket.Conn
	writing context.Context // for what is sent; it ends a while after all else
	id      string          // of the terminal
	typist  *coppice.Typist // the client
	exit    coppice.TerminalExit
	touch   func() // says that the VM is not idle
	breaks  int    // since something was shown last
	asked   moving.Question

	mu       sync.Mutex
	size     coppice.TerminalSize
	terminal coppice.Terminal // nil while the VM sleeps
	changed  chan struct{}    // closed when terminal changes
	wanted   chan struct{}    // closed when the client wants the terminal that there is not
}

// An attach opens a terminal of a VM, or finds it.
type attach func(context.Context, coppice.GuestTerminals, coppice.TerminalSize, *coppice.Typist) (coppice.Terminal, error)

// view connects a WebSocket to the terminal that attach returns. What it
// refuses is answered before the connection is upgraded.
func (s *Server) view(w http.ResponseWriter, r *http.Request, who caller, attach attach) error {
	ctx, cancel := s.whileServing(r.Context())
	defer cancel()
	terminals, release, err := s.terminalsOf(ctx, r, who)
	if err != nil {
		return err
	}
	defer release()
	size, err := terminalSize(r.URL.Query())
	if err != nil {
		return err
	}
	if err := wantsWebSocket(r, "a terminal is a WebSocket; there is none in this request"); err != nil {
		return err
	}
	typist := coppice.NewTypist()
	terminal, err := attach(ctx, terminals, size, typist)
	if err != nil {
		return err
	}
	conn, done := s.accept(w, r, api.ProtocolBrowser)
	if conn == nil {
		terminal.Close()
		return nil
	}
	defer done()
	release()
	v := &view{server: s, request: r, who: who, conn: conn, id: terminal.Info().ID, typist: typist, size: size, changed: make(chan struct{})}
	v.touch = moving.Sparingly(func() { s.config.VMs.Touch(coppice.VMID(r.PathValue("vm_id"))) })
	v.change(terminal)
	defer v.detach()
	v.run(ctx, terminal)
	return nil
}

// run serves the client until it leaves, the terminal ends, or the daemon does.
func (v *view) run(ctx context.Context, terminal coppice.Terminal) {
	// Not the end of ctx: a Read or Write whose context ends closes the connection,
	// which still has to say why.
	connected := context.WithoutCancel(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var stop context.CancelFunc
	v.writing, stop = outlasting(ctx)
	defer stop()
	go func() { cancel(v.receive(connected, ctx)) }()
	go func() { cancel(v.ping(ctx)) }()
	defer context.AfterFunc(ctx, v.detach)() // which ends what reads the terminal
	err := wsjson.Write(v.writing, v.conn, api.SessionInfo{Type: api.TypeSessionInfo, SessionID: v.id})
	for err == nil {
		err = v.show(terminal)
		if errors.Is(err, coppice.ErrGuestGone) && ctx.Err() == nil && v.breaks < maxBreaks {
			v.breaks++
			v.detach()
			terminal, err = v.again(ctx)
		}
	}
	if cause := context.Cause(ctx); cause != nil && err != io.EOF {
		err = cause
	}
	v.server.config.Log.Debug("terminal detached", "trace", traceOf(ctx), "session", v.id, "error", err)
	v.goodbye(err)
}

// goodbye tells the client why the connection ends.
func (v *view) goodbye(err error) {
	ctx, cancel := context.WithTimeout(v.writing, goodbyeTimeout)
	defer cancel()
	switch {
	case errors.Is(err, errClientLeft):
		return
	case errors.Is(err, errLeaving):
		v.conn.Close(websocket.StatusGoingAway, "the daemon is stopping; attach again when it is back")
		return
	case err != io.EOF:
		f := translate(err)
		if wsjson.Write(ctx, v.conn, api.TerminalError{Type: api.TypeError, Code: string(f.err.Code), Message: f.err.Message}) == nil {
			v.conn.Close(websocket.StatusInternalError, "")
		}
		return
	}
	if wsjson.Write(ctx, v.conn, api.TerminalExited{Type: api.TypeExited, ExitCode: v.exit.Code}) == nil {
		v.conn.Close(websocket.StatusNormalClosure, "")
	}
}

// show passes on what the terminal shows. The error is [io.EOF] when its program has ended.
func (v *view) show(terminal coppice.Terminal) error {
	replay := make([]byte, min(terminal.Replay(), replayPiece))
	n, err := io.ReadFull(terminal, replay)
	if err == nil {
		err = v.send(replay[:n])
	}
	buf := make([]byte, outputPiece)
	for err == nil {
		n, err = terminal.Read(buf)
		if failed := v.send(buf[:n]); failed != nil {
			return failed
		}
	}
	if err == io.EOF {
		v.exit = terminal.Exit()
	}
	return err
}

func (v *view) send(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	v.breaks = 0
	v.asked.Answered()
	v.touch()
	if v.conn.Write(v.writing, websocket.MessageBinary, p) != nil {
		return errClientLeft
	}
	return nil
}

func (v *view) detach() {
	if terminal := v.change(nil); terminal != nil {
		terminal.Close()
	}
}

// change puts another terminal in place of the one there is, which it returns.
func (v *view) change(to coppice.Terminal) coppice.Terminal {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.terminal
	v.terminal = to
	close(v.changed)
	v.changed, v.wanted = make(chan struct{}), make(chan struct{})
	return old
}

// ping makes sure that the client is there.
func (v *view) ping(ctx context.Context) error {
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		asked, cancel := context.WithTimeout(ctx, pulse)
		err := v.conn.Ping(asked)
		cancel()
		if err != nil {
			return errClientLeft
		}
	}
}

// again attaches to the terminal once more, when the VM has been suspended and is
// awake again: because the client types, or for another reason.
func (v *view) again(ctx context.Context) (coppice.Terminal, error) {
	if err := v.awake(ctx); err != nil {
		return nil, err
	}
	terminals, release, err := v.server.terminalsOf(ctx, v.request, v.who)
	if err != nil {
		return nil, err
	}
	defer release()
	v.mu.Lock()
	size := v.size
	v.mu.Unlock()
	terminal, err := terminals.Attach(ctx, v.id, size, v.typist)
	if err != nil {
		return nil, terminalError(err, v.request, v.id)
	}
	v.change(terminal)
	v.mu.Lock()
	resized := v.size
	v.mu.Unlock()
	if resized != size {
		_ = terminal.Resize(ctx, resized) // if this fails so does reading it
	}
	return terminal, nil
}

// awake waits until the VM runs, or the client wants it to: because it types, or has
// typed just before, and the guest has fallen asleep over it.
func (v *view) awake(ctx context.Context) error {
	v.mu.Lock()
	wanted := v.wanted
	v.mu.Unlock()
	for {
		news := v.server.config.VMs.News()
		vm, err := v.server.config.VMs.VM(ctx, v.who.Account, coppice.VMID(v.request.PathValue("vm_id")))
		switch {
		case err != nil:
			return err
		case vm.State == coppice.Running && vm.Verb != coppice.Suspend,
			vm.State == coppice.Suspended && v.asked.Take():
			return nil
		case vm.State != coppice.Running && vm.State != coppice.Suspended:
			return coppice.Errorf(coppice.CodeVMNotRunning, "VM %s is %s, and its terminals are gone", vm.ID, vm.State).With("vmId", vm.ID)
		}
		select {
		case <-news:
		case <-wanted:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
