package mem

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

// A terminalViewer is a [coppice.Terminal].
type terminalViewer struct {
	terminal *terminal
	ctx      context.Context
	broken   <-chan struct{}
	info     coppice.TerminalInfo
	replay   int
	size     coppice.TerminalSize
	typist   *coppice.Typist
	read     int64 // of the terminal's output
}

func (t *terminal) attach(ctx context.Context, broken <-chan struct{}, size coppice.TerminalSize, typist *coppice.Typist) *terminalViewer {
	if typist == nil {
		typist = coppice.NewTypist()
	}
	t.mu.Lock()
	v := &terminalViewer{terminal: t, ctx: ctx, broken: broken, size: size, typist: typist, replay: len(t.kept), read: t.written - int64(len(t.kept))}
	t.viewers = append(t.viewers, v)
	t.fit()
	t.mu.Unlock()
	v.info = t.info()
	return v
}

func (v *terminalViewer) Info() coppice.TerminalInfo { return v.info }

func (v *terminalViewer) Replay() int { return v.replay }

func (v *terminalViewer) Read(p []byte) (int, error) {
	t := v.terminal
	for {
		t.mu.Lock()
		v.read = max(v.read, t.written-int64(len(t.kept)))
		n := copy(p, t.kept[len(t.kept)-int(t.written-v.read):])
		v.read += int64(n)
		ended, attached, changed := !t.ended.IsZero(), slices.Contains(t.viewers, v), t.changed
		t.mu.Unlock()
		switch {
		case !attached:
			return 0, fs.ErrClosed
		case n > 0:
			return n, v.err()
		case ended:
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-v.broken:
		case <-v.ctx.Done():
		}
		if err := v.err(); err != nil {
			return 0, err
		}
	}
}

// err is why nothing can be read or written any more.
func (v *terminalViewer) err() error {
	select {
	case <-v.ctx.Done():
		return v.ctx.Err()
	case <-v.broken:
		return errBroken
	default:
		return nil
	}
}

func (v *terminalViewer) Write(p []byte) (int, error) {
	if err := v.err(); err != nil {
		return 0, err
	}
	written := 0
	for {
		n, changed, err := v.terminal.take(v.typist, p[written:])
		if err == nil {
			err = v.err() // and who typed does not hear what was taken
		}
		if err != nil {
			return written, err
		}
		written += n
		v.typist.Typed += int64(n)
		if written == len(p) {
			return written, nil
		}
		select {
		case <-changed:
		case <-v.broken:
		case <-v.ctx.Done():
		}
	}
}

func (v *terminalViewer) Resize(_ context.Context, size coppice.TerminalSize) error {
	if !size.Valid() {
		return fmt.Errorf("a terminal of %v: %w", size, fs.ErrInvalid)
	}
	v.terminal.mu.Lock()
	defer v.terminal.mu.Unlock()
	v.size = size
	v.terminal.fit()
	return v.err()
}

func (v *terminalViewer) Signal(_ context.Context, signal string) error {
	if unix.SignalNum(signal) == 0 {
		return fmt.Errorf("there is no signal %q: %w", signal, fs.ErrInvalid)
	}
	v.terminal.signal(signal)
	return v.err()
}

func (v *terminalViewer) Exit() coppice.TerminalExit {
	v.terminal.mu.Lock()
	defer v.terminal.mu.Unlock()
	return v.terminal.exit
}

func (v *terminalViewer) Close() error {
	t := v.terminal
	t.mu.Lock()
	defer t.mu.Unlock()
	t.viewers = slices.DeleteFunc(t.viewers, func(other *terminalViewer) bool { return other == v })
	t.fit()
	t.change()
	return nil
}
