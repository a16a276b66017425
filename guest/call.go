package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/yamux"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

const (
	// answerDeadline bounds the wait for what a guest should know at once, for each
	// [piece] of a file, and for the guest to take what it is sent. Its init may have to come up first.
	answerDeadline = 90 * time.Second
	// listingDeadline bounds the wait for all of a listing that has begun.
	listingDeadline = 5 * time.Minute
)

// errUnasked is why a call fails of which the guest has heard nothing.
var errUnasked = fmt.Errorf("%w before it was asked", coppice.ErrGuestGone)

// errCrowded is why a call is not begun on a link with a guest that ends none of its streams.
var errCrowded = fmt.Errorf("%w: all its streams are in use", coppice.ErrGuestGone)

// errSilent is why a call is ended whose answer does not come.
var errSilent = errors.New("the guest does not answer")

// A call is one request to a guest, in flight.
type call struct {
	asked  context.Context // the caller's
	ctx    context.Context // ends with asked, or when the call is given up
	cancel context.CancelCauseFunc
	link   *link
	stream *yamux.Stream
	frames *wire.Reader
	done   func() // called once it is over
}

// A begin begins a call, on one link or another.
type begin func(context.Context, wire.Request) (*call, error)

// call begins a call of the session, on a link that works. The caller closes it.
func (s *session) call(ctx context.Context, req wire.Request) (*call, error) {
	return s.admit(ctx, req, s.begin)
}

// admit begins a call of the session when there is room for it.
func (s *session) admit(ctx context.Context, req wire.Request, begin begin) (*call, error) {
	room := s.calls
	if req.Op == wire.OpDial || req.Op == wire.OpListen || req.Op == wire.OpAccept {
		room = s.sockets
	}
	select {
	case room <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.closed:
		return nil, errClosed
	}
	c, err := begin(ctx, req)
	if err != nil {
		<-room
		return nil, err
	}
	c.done = func() { <-room }
	return c, nil
}

// begin begins a call on a link that works.
func (s *session) begin(ctx context.Context, req wire.Request) (*call, error) {
	for tries := 1; ; tries++ {
		link, err := s.connected(ctx)
		if err != nil {
			return nil, err
		}
		c, err := link.begin(ctx, req)
		if errors.Is(err, errUnasked) && tries < 2 {
			link.close() // it broke without anyone having noticed
			continue
		}
		return c, err
	}
}

// begin begins a call. When ctx ends, whatever waits for its stream fails.
func (l *link) begin(ctx context.Context, req wire.Request) (*call, error) {
	if l.mux.NumStreams() >= wire.Streams {
		return nil, errCrowded
	}
	stream, err := l.mux.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnasked, err)
	}
	l.calls.Add(1)
	c := &call{asked: ctx, link: l, stream: stream, frames: wire.NewReader(stream), done: func() {}}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	context.AfterFunc(c.ctx, func() { stream.SetDeadline(time.Unix(1, 0)) })
	if err := wire.WriteRequest(prompt{c}, req); err != nil {
		defer c.close()
		if errors.Is(err, fs.ErrInvalid) {
			return nil, err
		}
		return nil, c.failed(err)
	}
	return c, nil
}

// close ends the call. If it was not answered, the guest takes that for a cancel.
func (c *call) close() {
	c.cancel(nil)
	go c.stream.Close() // it may have to wait for the guest to read, or for the end of the link
	c.link.calls.Add(-1)
	c.done()
}

// next returns the next frame. Data that is there already does not hide that
// the call was ended.
func (c *call) next() (wire.Frame, error) {
	if err := c.ctx.Err(); err != nil {
		return wire.Frame{}, err
	}
	return c.frames.Next(wire.MaxFrame)
}

// within gives the call up when the guest has had that long, unless stop is called before.
func (c *call) within(d time.Duration) (stop func() bool) {
	return time.AfterFunc(d, func() { c.cancel(errSilent) }).Stop
}

// A prompt writes to a guest that should take what it is sent. Pings may be
// answered for ever where nobody reads the stream.
type prompt struct{ *call }

func (p prompt) Write(b []byte) (int, error) {
	defer p.within(answerDeadline)()
	return p.stream.Write(b)
}

// answer reads an answer that the guest should give at once.
func (c *call) answer(v any) error {
	defer c.within(answerDeadline)()
	if err := c.frames.Answer(v); err != nil {
		return c.failed(err)
	}
	return nil
}

// failed says what a failure of the stream means to the caller.
func (c *call) failed(err error) error {
	if err := c.asked.Err(); err != nil {
		return err
	}
	if failure, ok := errors.AsType[*wire.Error](err); ok {
		return &wire.Error{Cause: failure.Cause, Message: printable(failure.Message)}
	}
	if context.Cause(c.ctx) == errSilent {
		err = errSilent
	}
	return fmt.Errorf("%w: %w", coppice.ErrGuestGone, err)
}

// printable returns what a guest says in a form that is harmless to print.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
	if len(s) > 1000 {
		s = strings.ToValidUTF8(s[:1000], "")
	}
	return s
}
