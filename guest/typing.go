package guest

import (
	"context"
	"io"
	"slices"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

// A keyboard is how a terminal is typed into.
type keyboard struct {
	typist *coppice.Typist
	old    bool  // the guest does not say what it takes
	call   *call // nil until something is typed
	err    error // of the last Write, and every later one
}

func (t *terminal) Write(p []byte) (int, error) {
	written := 0
	for piece := range slices.Chunk(p, wire.MaxData) {
		if t.keyboard.err == nil {
			t.keyboard.err = t.types(piece)
		}
		if t.keyboard.err != nil {
			return written, t.unwritten()
		}
		written += len(piece)
		t.keyboard.typist.Typed += int64(len(piece))
	}
	return written, nil
}

// types types a piece, and returns when the guest has taken it.
func (t *terminal) types(piece []byte) error {
	k := &t.keyboard
	if k.old {
		return wire.Write(t.call.stream, wire.Data, piece)
	}
	if k.call == nil {
		c, err := t.call.link.begin(t.call.ctx, wire.Request{Op: wire.OpType, Stream: t.call.stream.StreamID(), Terminal: &wire.Terminal{
			Typist: k.typist.ID, Typed: k.typist.Typed,
		}})
		if err != nil {
			return err
		}
		context.AfterFunc(t.call.ctx, c.close)
		k.call = c
	}
	if err := wire.Write(k.call.stream, wire.Data, piece); err != nil {
		return err
	}
	return k.call.frames.Answer(&wire.Done{})
}

// unwritten says what a failure to type means to the caller.
func (t *terminal) unwritten() error {
	select {
	case <-t.ended:
		return io.ErrClosedPipe
	default:
		return t.call.failed(t.keyboard.err)
	}
}
