package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/guest/wire"
)

// exec runs a command and answers when its main process has ended. What that
// leaves behind lives on; what it still writes to the command's pipes is read
// and dropped, so that it neither blocks nor dies of it.
//
// A host that closes the stream has the command killed. One that is lost, as
// when this guest is a fork, has not: the command goes on without it.
func (x *exchange) exec() error {
	c, err := x.agent.start(x.Exec)
	if err != nil {
		return err
	}
	x.mu.Lock()
	x.commands[x.stream.StreamID()] = c
	x.mu.Unlock()

	go x.feed(c)
	var relays sync.WaitGroup
	relays.Go(func() { x.relay(c.stdout, wire.Data) })
	relays.Go(func() { x.relay(c.stderr, wire.Stderr) })
	exited, err := c.wait(time.Duration(x.Exec.Timeout) * time.Millisecond)
	c.stdout.SetReadDeadline(time.Unix(1, 0))
	c.stderr.SetReadDeadline(time.Unix(1, 0))
	relays.Wait()

	x.mu.Lock()
	delete(x.commands, x.stream.StreamID())
	x.mu.Unlock()
	if err != nil {
		return err
	}
	return x.answer(exited)
}

// kill kills a command that may have ended by now.
func (x *exchange) kill() error {
	x.mu.Lock()
	c := x.commands[x.Stream]
	x.mu.Unlock()
	if c != nil {
		if err := c.kill(); err != nil {
			return err
		}
	}
	return x.answer(wire.Done{})
}

// signal signals a command that may have ended by now.
func (x *exchange) signal() error {
	sig := unix.SignalNum(x.Signal)
	if sig == 0 {
		return fmt.Errorf("there is no signal %.20q: %w", x.Signal, fs.ErrInvalid)
	}
	x.mu.Lock()
	c := x.commands[x.Stream]
	x.mu.Unlock()
	if c != nil {
		if err := c.signal(sig); err != nil {
			return err
		}
	}
	return x.answer(wire.Done{})
}

// feed passes on the standard input, until there is no more to come from the host.
func (x *exchange) feed(c *command) {
	if c.stdin != nil {
		defer c.stdin.Close()
	}
	for {
		frame, err := x.frames.Next(wire.MaxFrame)
		switch {
		case err != nil:
			if !x.lost() {
				c.kill()
			}
			return
		case c.stdin == nil:
		case frame.Kind == wire.Data:
			c.stdin.Write(frame.Content) // a command need not read it
		case frame.Kind == wire.End:
			c.stdin.Close()
		}
	}
}

// relay sends what comes out of a pipe, until the pipe ends or has a deadline:
// then it sends what is in the pipe, and drops what comes after that.
func (x *exchange) relay(pipe *os.File, kind wire.Kind) {
	frame := make([]byte, wire.FrameOverhead+wire.MaxData)
	heard := true // by the host
	send := func(from io.Reader) error {
		for {
			n, err := from.Read(frame[wire.FrameOverhead:])
			if n > 0 && heard {
				whole := frame[:wire.FrameOverhead+n]
				wire.PutHeader(whole, kind)
				_, lost := x.stream.Write(whole)
				heard = lost == nil
			}
			if err != nil {
				return err
			}
		}
	}
	if err := send(pipe); !errors.Is(err, os.ErrDeadlineExceeded) {
		pipe.Close()
		return
	}
	pipe.SetReadDeadline(time.Time{})
	send(io.LimitReader(pipe, buffered(pipe)))
	go func() {
		defer pipe.Close()
		io.Copy(io.Discard, pipe)
	}()
}

// buffered is how much there is to read in a pipe.
func buffered(pipe *os.File) (n int64) {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return 0
	}
	conn.Control(func(fd uintptr) {
		if in, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ); err == nil {
			n = int64(in)
		}
	})
	return n
}
