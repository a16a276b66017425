package agent

import (
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// behind is how much output is kept for who does not keep up, in bytes.
const behind = 64 << 10

// A viewer is somebody who is attached to a terminal. The terminal's lock
// guards it, except for gone.
type viewer struct {
	size    coppice.TerminalSize
	pending []byte        // output it has not been sent
	missed  bool          // output, for which it has to be shown the screen anew
	drawn   bool          // it was last shown the screen by Redraw, for it has another size
	wake    chan struct{} // has an element when there is something to send

	leave sync.Once
	gone  chan struct{} // closed when it is not attached any more
}

func newViewer(size coppice.TerminalSize) *viewer {
	return &viewer{size: size, wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

func (v *viewer) wakeUp() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

func (v *viewer) detach() { v.leave.Do(func() { close(v.gone) }) }

// add takes output. fits says that it is meant for a screen of the viewer's size.
func (v *viewer) add(p []byte, fits bool) {
	switch {
	case len(p) == 0 || v.missed:
		return
	case !fits || len(v.pending)+len(p) > behind:
		v.redraw()
	default:
		v.pending = append(v.pending, p...)
		v.wakeUp()
	}
}

// redraw has the viewer shown the screen anew.
func (v *viewer) redraw() {
	v.missed, v.pending = true, nil
	v.wakeUp()
}

// next returns what v is to be sent, and how the program ended if that is all.
func (t *terminal) next(v *viewer) ([]byte, *wire.Ended) {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := v.pending
	if v.missed {
		v.drawn = v.size != t.size
		if v.drawn {
			out = t.screen.Redraw()
		} else {
			out = t.screen.Draw()
		}
	}
	v.pending, v.missed = nil, false
	return out, t.ended
}

// onTerminal does what is asked for about terminals.
func (x *exchange) onTerminal() error {
	switch x.Op {
	case wire.OpDetach, wire.OpResize, wire.OpSignal:
		return x.onAttached()
	case wire.OpType:
		return x.typing()
	}
	u, err := x.agent.lookUp(x.Terminal.User)
	if err != nil {
		return err
	}
	switch x.Op {
	case wire.OpTerminal:
		return x.view(u)
	case wire.OpTerminals:
		for _, info := range x.agent.list(u) {
			if err := x.answer(info); err != nil {
				return err
			}
		}
		return wire.Write(x.stream, wire.End, nil)
	case wire.OpHangup:
		t, err := x.agent.terminal(u, x.Terminal.ID)
		if err != nil {
			return err
		}
		return x.answer(x.agent.closeTerminal(t))
	}
	return fmt.Errorf("%s is not for terminals: %w", x.Op, fs.ErrInvalid)
}

// onAttached does what is asked for about a stream, which may have ended.
func (x *exchange) onAttached() error {
	x.mu.Lock()
	a, ok := x.attached[x.Stream]
	x.mu.Unlock()
	switch {
	case !ok:
	case x.Op == wire.OpDetach:
		a.viewer.detach()
		a.terminal.leave(a.viewer) // before the answer: its size counts no longer
	case x.Op == wire.OpSignal:
		if err := a.terminal.signal(x.Terminal.Signal); err != nil {
			return err
		}
	case !x.Terminal.Size.Valid():
		return errSize(x.Terminal.Size)
	default:
		a.terminal.resize(a.viewer, x.Terminal.Size)
	}
	return x.answer(wire.Done{})
}

func errSize(size coppice.TerminalSize) error {
	return fmt.Errorf("a terminal of %d by %d: %w", size.Cols, size.Rows, fs.ErrInvalid)
}

// An attachment is what a stream is attached to.
type attachment struct {
	terminal *terminal
	viewer   *viewer
}

// view attaches the host to a terminal, until it detaches or the terminal's program ends.
func (x *exchange) view(u user) error {
	size := x.Terminal.Size
	if !size.Valid() {
		return errSize(size)
	}
	a := attachment{viewer: newViewer(size)}
	replay, err := x.attach(u, &a)
	if err != nil {
		return err
	}
	defer x.detach(a)
	if err := x.answer(wire.Attached{TerminalInfo: a.terminal.info(), Replay: len(replay), Types: true}); err != nil {
		return err
	}
	go x.attend(a)
	if err := x.send(replay); err != nil {
		return err
	}
	for {
		out, ended := a.terminal.next(a.viewer)
		if err := x.send(out); err != nil {
			return err
		}
		if ended != nil {
			return x.answer(ended)
		}
		select {
		case <-a.viewer.wake:
		case <-a.viewer.gone:
			return nil
		case <-x.mux.CloseChan():
			return nil
		}
	}
}

// attach opens the terminal that is asked for, or finds it, and attaches a's
// viewer. It returns what draws the screen.
func (x *exchange) attach(u user, a *attachment) (replay []byte, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.attached) >= coppice.MaxTerminals {
		return nil, fmt.Errorf("%w: %d are attached to this guest's terminals", coppice.ErrTooMany, len(x.attached))
	}
	if spec := x.Terminal.New; spec != nil {
		a.terminal, err = x.agent.openTerminal(u, x.Terminal.ID, spec, a.viewer)
	} else if a.terminal, err = x.agent.terminal(u, x.Terminal.ID); err == nil {
		replay = a.terminal.attach(a.viewer)
	}
	if err == nil {
		x.attached[x.stream.StreamID()] = *a
	}
	return replay, err
}

func (x *exchange) detach(a attachment) {
	a.viewer.detach()
	a.terminal.leave(a.viewer)
	x.mu.Lock()
	delete(x.attached, x.stream.StreamID())
	x.mu.Unlock()
}

// send sends output in frames.
func (x *exchange) send(out []byte) error {
	for len(out) > 0 {
		n := min(len(out), wire.MaxData)
		if err := wire.Write(x.stream, wire.Data, out[:n]); err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}

// attend sees to it that a is detached when the host closes its stream, and
// that the stream does not hold anybody up then.
func (x *exchange) attend(a attachment) {
	go func() { // whatever the stream waits for then
		<-a.viewer.gone
		x.stream.SetDeadline(time.Unix(1, 0))
	}()
	io.Copy(io.Discard, x.stream)
	a.viewer.detach()
}
