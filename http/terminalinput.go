package http

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// An input is what a message of the client's asks for: one of the three.
type input struct {
	typed  []byte
	size   coppice.TerminalSize
	signal string
}

// parseInput reads a message. A type that is not known asks for nothing: it may
// be of a newer client.
func parseInput(kind websocket.MessageType, msg []byte) (input, error) {
	if kind == websocket.MessageBinary {
		return input{typed: msg}, nil
	}
	var control api.TerminalControl
	if json.Unmarshal(msg, &control) != nil {
		return input{}, coppice.Errorf(coppice.CodeInvalidRequest, `a text message is JSON like {"type":"resize","cols":80,"rows":24}; what is typed is a binary message`)
	}
	switch control.Type {
	case api.TypeResize:
		size := coppice.TerminalSize{Cols: control.Cols, Rows: control.Rows}
		if !size.Valid() {
			return input{}, errTerminalSize(size)
		}
		return input{size: size}, nil
	case api.TypeSignal:
		if control.Signal == "SIGINT" {
			return input{typed: interrupt}, nil // as the key does it
		}
		return input{signal: control.Signal}, nil
	}
	return input{}, nil
}

// receive takes the client's messages until it leaves. It waits for the program to
// read what is typed: a client that types faster is held up, and nobody else.
func (v *view) receive(connected, ctx context.Context) error {
	for {
		kind, msg, err := v.conn.Read(connected)
		if err != nil {
			return errClientLeft
		}
		in, err := parseInput(kind, msg)
		if err == nil {
			err = v.do(ctx, in)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			f := translate(err)
			if wsjson.Write(v.writing, v.conn, api.TerminalError{Type: api.TypeError, Code: string(f.err.Code), Message: f.err.Message}) != nil {
				return errClientLeft
			}
		}
	}
}

// do does what a message asks for. Typing and signals wake a VM that sleeps.
func (v *view) do(ctx context.Context, in input) error {
	switch {
	case in.size != (coppice.TerminalSize{}):
		return v.resize(ctx, in.size)
	case len(in.typed) == 0 && in.signal == "":
		return nil
	}
	var terminal coppice.Terminal
	for {
		var err error
		if terminal, err = v.wake(ctx, terminal); err != nil {
			return err
		}
		v.touch()
		switch err := v.pass(ctx, terminal, &in); {
		case errors.Is(err, coppice.ErrGuestGone): // maybe the VM has just been suspended
		case err != nil && in.signal != "":
			return coppice.Errorf(coppice.CodeInvalidRequest, "the signal %.20q was not sent; it should be a name like SIGTERM", in.signal).Because(err)
		default:
			return nil // a program that has ended is no news here
		}
	}
}

// pass passes on a signal, or what of the input has not been typed yet.
func (v *view) pass(ctx context.Context, terminal coppice.Terminal, in *input) error {
	if in.signal != "" {
		return terminal.Signal(ctx, in.signal)
	}
	v.asked.Ask()
	n, err := terminal.Write(in.typed)
	in.typed = in.typed[n:]
	return err
}

func (v *view) resize(ctx context.Context, size coppice.TerminalSize) error {
	v.mu.Lock()
	v.size = size
	terminal := v.terminal
	v.mu.Unlock()
	if terminal != nil {
		_ = terminal.Resize(ctx, size) // likewise
	}
	return nil
}

// wake returns the terminal, and wakes the VM for it if need be. If it is broken
// it waits for another one.
func (v *view) wake(ctx context.Context, broken coppice.Terminal) (coppice.Terminal, error) {
	for {
		v.mu.Lock()
		terminal, changed := v.terminal, v.changed
		select {
		case <-v.wanted: // it has been said
		default:
			if terminal == nil {
				close(v.wanted)
			}
		}
		v.mu.Unlock()
		if terminal != nil && terminal != broken {
			return terminal, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
