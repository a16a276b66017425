package guest

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// terminalsLimit is how many terminals a guest is believed to have.
const terminalsLimit = 1000

// terminals is a [coppice.GuestTerminals].
type terminals struct {
	session *session
	user    string
}

// Terminals implements [coppice.Session].
func (s *session) Terminals(user string) coppice.GuestTerminals { return terminals{s, user} }

// Open implements [coppice.GuestTerminals].
func (t terminals) Open(ctx context.Context, spec coppice.TerminalSpec) (coppice.Terminal, error) {
	return t.attach(ctx, spec.Typist, &wire.Terminal{ID: spec.ID, Size: spec.Size, New: &wire.NewTerminal{
		Command: spec.Command,
		Dir:     spec.Dir,
		Env:     spec.Env,
		Most:    spec.Most,
	}})
}

// Attach implements [coppice.GuestTerminals].
func (t terminals) Attach(ctx context.Context, id string, size coppice.TerminalSize, typist *coppice.Typist) (coppice.Terminal, error) {
	return t.attach(ctx, typist, &wire.Terminal{ID: id, Size: size})
}

func (t terminals) attach(ctx context.Context, typist *coppice.Typist, which *wire.Terminal) (coppice.Terminal, error) {
	which.User = t.user
	c, err := t.session.call(ctx, wire.Request{Op: wire.OpTerminal, Terminal: which})
	if err != nil {
		return nil, err
	}
	var attached wire.Attached
	if err = c.answer(&attached); err == nil && attached.Replay < 0 {
		err = c.failed(errForeign)
	}
	var info coppice.TerminalInfo
	if err == nil {
		info, err = terminalInfo(attached.TerminalInfo, which.ID)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	if typist == nil {
		typist = coppice.NewTypist()
	}
	return &terminal{
		call: c, info: info, replay: attached.Replay, ended: make(chan struct{}),
		keyboard: keyboard{typist: typist, old: !attached.Types},
	}, nil
}

// List implements [coppice.GuestTerminals].
func (t terminals) List(ctx context.Context) ([]coppice.TerminalInfo, error) {
	c, err := t.session.call(ctx, wire.Request{Op: wire.OpTerminals, Terminal: &wire.Terminal{User: t.user}})
	if err != nil {
		return nil, err
	}
	defer c.close()
	defer c.within(answerDeadline)()
	infos := []coppice.TerminalInfo{}
	for {
		frame, err := c.next()
		if err != nil {
			return nil, c.failed(err)
		}
		if frame.Kind == wire.End {
			return infos, nil
		}
		var said wire.TerminalInfo
		if err := frame.Answer(&said); err != nil {
			return nil, c.failed(err)
		}
		info, err := terminalInfo(said, "")
		if err != nil || len(infos) == terminalsLimit {
			return nil, c.failed(errForeign)
		}
		infos = append(infos, info)
	}
}

// Close implements [coppice.GuestTerminals].
func (t terminals) Close(ctx context.Context, id string) (coppice.TerminalInfo, error) {
	c, err := t.session.call(ctx, wire.Request{Op: wire.OpHangup, Terminal: &wire.Terminal{User: t.user, ID: id}})
	if err != nil {
		return coppice.TerminalInfo{}, err
	}
	defer c.close()
	var info wire.TerminalInfo
	if err := c.answer(&info); err != nil {
		return coppice.TerminalInfo{}, err
	}
	return terminalInfo(info, id)
}

// terminalInfo is what a guest says of a terminal, if that can be; of that
// terminal, unless id is empty.
func terminalInfo(said wire.TerminalInfo, id string) (coppice.TerminalInfo, error) {
	info := coppice.TerminalInfo{
		ID: said.ID, User: printable(said.User), Command: printable(said.Command),
		Size: said.Size, Attached: said.Attached, Created: time.Unix(0, said.Created),
	}
	ok := coppice.ValidTerminalID(info.ID) && (id == "" || info.ID == id) &&
		info.Size.Valid() && info.Attached >= 0 && info.Attached <= coppice.MaxTerminals
	if end := said.Ended; end != nil {
		info.Ended, info.Exit = time.Unix(0, end.At), coppice.TerminalExit{Code: end.Code, Signal: end.Signal}
		ok = ok && canEnd(end.Code, end.Signal)
	}
	if !ok {
		return coppice.TerminalInfo{}, fmt.Errorf("%w: %w", coppice.ErrGuestGone, errForeign)
	}
	return info, nil
}

// A terminal is a [coppice.Terminal].
type terminal struct {
	call   *call
	info   coppice.TerminalInfo
	replay int
	close  sync.Once

	output []byte // read, not given out yet
	err    error  // for Read, after output
	exit   coppice.TerminalExit
	ended  chan struct{} // closed when exit is known

	keyboard keyboard
}

func (t *terminal) Info() coppice.TerminalInfo { return t.info }

func (t *terminal) Replay() int { return t.replay }

func (t *terminal) Read(p []byte) (int, error) {
	for len(t.output) == 0 {
		if t.err != nil {
			return 0, t.err
		}
		t.output, t.err = t.next()
	}
	n := copy(p, t.output)
	t.output = t.output[n:]
	return n, nil
}

// next returns the next piece of output.
func (t *terminal) next() ([]byte, error) {
	frame, err := t.call.next()
	if err != nil {
		return nil, t.call.failed(err)
	}
	if frame.Kind == wire.Data {
		return frame.Content, nil
	}
	var said wire.Ended
	if err := frame.Answer(&said); err != nil {
		return nil, t.call.failed(err)
	}
	if !canEnd(said.Code, said.Signal) {
		return nil, t.call.failed(errForeign)
	}
	t.exit = coppice.TerminalExit{Code: said.Code, Signal: said.Signal}
	close(t.ended)
	return nil, io.EOF
}

func (t *terminal) Resize(ctx context.Context, size coppice.TerminalSize) error {
	return t.ask(ctx, wire.Request{Op: wire.OpResize, Terminal: &wire.Terminal{Size: size}})
}

func (t *terminal) Signal(ctx context.Context, signal string) error {
	return t.ask(ctx, wire.Request{Op: wire.OpSignal, Terminal: &wire.Terminal{Signal: signal}})
}

// ask asks for something about the terminal's stream, on another one: it is
// not held up by input that the program does not read.
func (t *terminal) ask(ctx context.Context, req wire.Request) error {
	req.Stream = t.call.stream.StreamID()
	c, err := t.call.link.begin(ctx, req)
	if err != nil {
		return err
	}
	defer c.close()
	return c.answer(&wire.Done{})
}

func (t *terminal) Exit() coppice.TerminalExit {
	select {
	case <-t.ended:
		return t.exit
	default:
		return coppice.TerminalExit{}
	}
}

func (t *terminal) Close() error {
	t.close.Do(func() {
		defer t.call.close()
		select {
		case <-t.ended:
			return
		default:
		}
		if t.call.link.broken() {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.call.asked), killDeadline)
		defer cancel()
		// If this fails the end of the stream says the same.
		t.ask(ctx, wire.Request{Op: wire.OpDetach, Terminal: &wire.Terminal{}})
	})
	return nil
}
