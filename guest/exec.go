package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
)

const (
	// timeoutGrace is what a guest has, after a command's timeout, to kill it and say so.
	timeoutGrace = 15 * time.Second
	// killDeadline is what it has while the caller waits to leave.
	killDeadline = 2 * time.Second
)

// timedOut is the status of a command that took too long.
var timedOut = coppice.ExecStatus{Code: 124, TimedOut: true}

// errOvertime is why a command is given up whose guest did not end it in time.
var errOvertime = errors.New("the command ran into its timeout and beyond")

// Exec implements [coppice.Session]. A stdio that fails ends the command like
// the end of ctx does, and its error is returned. Exec does not wait for a Read
// of Stdin that is under way when the command ends; what it reads is lost.
func (s *session) Exec(ctx context.Context, spec coppice.ExecSpec, stdio coppice.Stdio) (coppice.ExecStatus, error) {
	c, err := s.call(ctx, wire.Request{Op: wire.OpExec, Exec: &wire.Exec{
		Command: spec.Command,
		SFTP:    spec.SFTP,
		User:    spec.User,
		Dir:     spec.Dir,
		Env:     spec.Env,
		Timeout: int64((spec.Timeout + time.Millisecond - 1) / time.Millisecond),
		Stdin:   stdio.Stdin != nil,
	}})
	if err != nil {
		return coppice.ExecStatus{}, err
	}
	defer c.close()
	if spec.Timeout > 0 {
		defer time.AfterFunc(spec.Timeout+timeoutGrace, func() { c.cancel(errOvertime) }).Stop()
	}
	if stdio.Stdin != nil {
		go func() {
			if err := c.send(c.stream, stdio.Stdin); err != nil {
				c.cancel(err)
			}
		}()
	}
	if stdio.Signals != nil {
		ended := make(chan struct{})
		defer close(ended)
		go c.signal(stdio.Signals, ended)
	}
	exited, err := c.output(stdio)
	if err == nil {
		return coppice.ExecStatus(exited), nil
	}
	if !c.link.broken() && !errors.As(err, new(*wire.Error)) {
		c.kill()
	}
	switch cause := context.Cause(c.ctx); {
	case cause == errOvertime:
		return timedOut, nil
	case ctx.Err() == nil && cause != nil:
		return coppice.ExecStatus{}, cause
	}
	return coppice.ExecStatus{}, err
}

// output passes on what a command writes, and returns how it ended.
func (c *call) output(stdio coppice.Stdio) (exited wire.Exited, err error) {
	for {
		frame, err := c.next()
		if err != nil {
			return exited, c.failed(err)
		}
		var w io.Writer
		switch frame.Kind {
		case wire.Data:
			w = stdio.Stdout
		case wire.Stderr:
			w = stdio.Stderr
		default:
			if err := frame.Answer(&exited); err != nil {
				return exited, c.failed(err)
			}
			if !canEnd(exited.Code, exited.Signal) {
				return exited, c.failed(errForeign)
			}
			return exited, nil
		}
		if w == nil {
			continue
		}
		if _, err := w.Write(frame.Content); err != nil {
			return exited, fmt.Errorf("pass on the output: %w", err)
		}
	}
}

// canEnd reports whether a program can end with a status, by a signal if it names one.
func canEnd(code int, signal string) bool {
	return code >= 0 && code <= 255 && (signal == "" || unix.SignalNum(signal) != 0)
}

// send sends all of r by the call's stream w, as data with its end. A stream that does
// not take it is no error, and neither is a call that was ended: whoever reads the
// stream sees why.
func (c *call) send(w io.Writer, r io.Reader) error {
	frame := make([]byte, wire.FrameOverhead+wire.MaxData)
	for {
		n, err := r.Read(frame[wire.FrameOverhead:])
		if c.ctx.Err() != nil {
			return nil
		}
		if n > 0 {
			whole := frame[:wire.FrameOverhead+n]
			wire.PutHeader(whole, wire.Data)
			if _, err := w.Write(whole); err != nil {
				return nil
			}
		}
		if err == io.EOF {
			wire.Write(w, wire.End, nil)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what to send: %w", err)
		}
	}
}

// signal has the guest signal a command, until that has ended.
func (c *call) signal(names <-chan string, ended <-chan struct{}) {
	for {
		var name string
		select {
		case name = <-names:
		case <-ended:
			return
		}
		if unix.SignalNum(name) == 0 {
			continue
		}
		k, err := c.link.begin(c.ctx, wire.Request{Op: wire.OpSignalCommand, Stream: c.stream.StreamID(), Signal: name})
		if err != nil {
			return
		}
		k.answer(&wire.Done{})
		k.close()
	}
}

// kill has the guest kill a command that the caller does not wait for any
// more. A stream of its own is not held up by input that the command does not
// read. If the guest does not answer, the end of the command's stream tells it.
func (c *call) kill() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.asked), killDeadline)
	defer cancel()
	k, err := c.link.begin(ctx, wire.Request{Op: wire.OpKill, Stream: c.stream.StreamID()})
	if err != nil {
		return
	}
	defer k.close()
	k.answer(&wire.Done{})
}

// SetClock implements [coppice.Session].
func (s *session) SetClock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, identifyDeadline)
	defer cancel()
	c, err := s.call(ctx, wire.Request{Op: wire.OpClock})
	if err != nil {
		return err
	}
	defer c.close()
	off, err := c.setClock()
	if err != nil {
		return c.failed(err)
	}
	s.log.Debug("the guest's clock is right", "was off", off)
	return c.answer(&wire.Done{})
}

// Shutdown implements [coppice.Session].
func (s *session) Shutdown(ctx context.Context) error {
	c, err := s.call(ctx, wire.Request{Op: wire.OpShutdown})
	if err != nil {
		return err
	}
	defer c.close()
	return c.answer(&wire.Done{})
}
