package agent

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

const (
	// inputKept is how many pieces of input wait for the program to read.
	inputKept = 8
	// typistsKept is of how many typists it is known what was taken from them.
	typistsKept = coppice.MaxTerminals
)

// An input is what was typed into a terminal and is not passed on to its program
// yet, and who has typed how much.
type input struct {
	pieces chan []byte
	room   chan struct{} // has an element for each piece, and for each that will be one

	mu      sync.Mutex
	typists []typist // who typed last is the last
}

// A typist is somebody from whom the first bytes that they typed were taken.
type typist struct {
	id    string
	taken int64
}

func newInput() *input {
	return &input{pieces: make(chan []byte, inputKept), room: make(chan struct{}, inputKept)}
}

// errLeft is why nothing is taken from who is not attached any more.
var errLeft = errors.New("it is not attached any more")

// take takes a piece that comes after the first so many bytes of what a typist types, once
// there is room, and unless gone is closed before. What it has of it already it does not take again.
func (t *terminal) take(id string, after int64, piece []byte, gone <-chan struct{}) error {
	if !t.running() {
		return io.ErrClosedPipe
	}
	in := t.input
	select {
	case in.room <- struct{}{}:
	case <-t.done:
		return io.ErrClosedPipe
	case <-gone:
		return errLeft
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	taken := max(in.forget(id), after)
	end := after + int64(len(piece))
	in.typists = append(in.typists, typist{id, max(taken, end)})
	in.typists = in.typists[max(0, len(in.typists)-typistsKept):]
	in.pieces <- piece[min(taken, end)-after:] // there is room
	return nil
}

// forget removes a typist, and returns what was taken from them. The caller holds in.mu.
func (in *input) forget(id string) (taken int64) {
	in.typists = slices.DeleteFunc(in.typists, func(who typist) bool {
		if who.id == id {
			taken = who.taken
		}
		return who.id == id
	})
	return taken
}

// passOn passes on what is typed to the program, as long as that reads.
func (t *terminal) passOn() {
	for {
		select {
		case p := <-t.input.pieces:
			t.master.Write(p) // the program may be gone
			<-t.input.room
		case <-t.done:
			return
		}
	}
}

// typing takes what the host types into the terminal of a stream, and says so each time.
func (x *exchange) typing() error {
	x.mu.Lock()
	a, ok := x.attached[x.Stream]
	x.mu.Unlock()
	if !ok {
		return io.ErrClosedPipe
	}
	for after := x.Terminal.Typed; ; {
		frame, err := x.frames.Next(wire.MaxFrame)
		if err != nil {
			return nil // the host has closed the stream, or is gone
		}
		switch err := a.terminal.take(x.Terminal.Typist, after, bytes.Clone(frame.Content), a.viewer.gone); {
		case err == errLeft:
			return nil // likewise
		case err != nil:
			return err
		}
		after += int64(len(frame.Content))
		if err := x.answer(wire.Done{}); err != nil {
			return err
		}
	}
}
