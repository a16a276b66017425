// Package qmp speaks QEMU's machine protocol over a unix socket: commands with
// deadlines, events, and files passed as descriptors.
//
// QEMU serves one client at a time. The connection of a second one is accepted
// by the kernel and then stays silent, so every step here has a deadline.
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// maxMessage bounds one message from QEMU. The answers to the commands coppice
// uses have a few hundred bytes.
const maxMessage = 1 << 20

// ErrClosed is what calls return after Close.
var ErrClosed = errors.New("qmp: connection closed")

// An Error is QEMU's answer to a command that failed.
type Error struct {
	Command string
	Class   string // "GenericError" for almost everything
	Desc    string
}

func (e *Error) Error() string {
	if e.Class == "GenericError" {
		return fmt.Sprintf("qmp: %s: %s", e.Command, e.Desc)
	}
	return fmt.Sprintf("qmp: %s: %s: %s", e.Command, e.Class, e.Desc)
}

// An Event is something that QEMU reports unasked.
type Event struct {
	Name string
	Data json.RawMessage // an object, or nil
	Time time.Time
}

// A Client is a connection to one QEMU. Its methods may be called concurrently.
type Client struct {
	conn    *net.UnixConn
	onEvent func(Event)
	done    chan struct{} // closed when the reader has ended

	writing sync.Mutex // held for the length of one message

	mu      sync.Mutex
	nextID  uint64
	pending map[uint64]chan<- message
	err     error // why the connection is of no use any more
}

// Dial connects to the QEMU listening at path, and returns when it takes
// commands or ctx ends. onEvent is called with each event, in order, from the
// goroutine that also reads the answers: it must return at once and may not
// call the client. It is not called after Close has returned.
func Dial(ctx context.Context, path string, onEvent func(Event)) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("qmp: %w", err)
	}
	c := &Client{
		conn:    conn.(*net.UnixConn),
		onEvent: onEvent,
		done:    make(chan struct{}),
		pending: map[uint64]chan<- message{},
	}
	in := newReader(conn)
	if err := c.greet(ctx, in); err != nil {
		conn.Close()
		return nil, err
	}
	go c.read(in)
	if err := c.Do(ctx, "qmp_capabilities", nil, nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// greet waits for QEMU's first message.
func (c *Client) greet(ctx context.Context, in *reader) error {
	stop := context.AfterFunc(ctx, func() { c.conn.SetReadDeadline(time.Unix(1, 0)) })
	m, err := in.next()
	if !stop() {
		return fmt.Errorf("qmp: waiting for the greeting: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("qmp: waiting for the greeting: %w", err)
	}
	if m.Greeting == nil {
		return errors.New("qmp: the first message is not a greeting")
	}
	return nil
}

// Do executes a command and waits for its answer, which is decoded into result
// unless that is nil. An answer that comes after ctx has ended is dropped: the
// command may have been executed. QEMU's refusal is an [*Error].
func (c *Client) Do(ctx context.Context, command string, args, result any) error {
	return c.do(ctx, command, args, nil, result)
}

// DoFile is Do for a command that takes a file, like add-fd and getfd. The
// caller keeps f and may close it when DoFile returns.
func (c *Client) DoFile(ctx context.Context, command string, args any, f *os.File, result any) error {
	return c.do(ctx, command, args, f, result)
}

func (c *Client) do(ctx context.Context, command string, args any, f *os.File, result any) error {
	answer := make(chan message, 1)
	id, err := c.register(answer)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	defer c.forget(id)
	request, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, args, id})
	if err != nil {
		return fmt.Errorf("qmp: %s: %w", command, err)
	}
	if err := c.send(ctx, append(request, '\r', '\n'), f); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	var m message
	select {
	case m = <-answer:
	case <-ctx.Done():
		return fmt.Errorf("qmp: waiting for the answer to %s: %w", command, context.Cause(ctx))
	case <-c.done:
		select {
		case m = <-answer: // the last thing that was read
		default:
			return fmt.Errorf("%s: %w", command, c.Err())
		}
	}
	if m.Error != nil {
		return &Error{Command: command, Class: m.Error.Class, Desc: m.Error.Desc}
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, result); err != nil {
		return fmt.Errorf("qmp: the answer to %s: %w", command, err)
	}
	return nil
}

func (c *Client) register(answer chan<- message) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.nextID++
	c.pending[c.nextID] = answer
	return c.nextID, nil
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// send writes one message, all of it or, when ctx ends, none that counts: a
// message cut in two makes the connection useless, so it is closed.
func (c *Client) send(ctx context.Context, request []byte, f *os.File) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.conn.SetWriteDeadline(time.Time{})
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.conn.SetWriteDeadline(time.Unix(1, 0))
		close(expired)
	})
	defer func() {
		if !stop() {
			<-expired // or it would meet the next message
		}
	}()
	var n int
	var err error
	if f == nil {
		n, err = c.conn.Write(request)
	} else {
		n, err = c.sendFile(request, f)
	}
	if err == nil && n == len(request) {
		return nil
	}
	if err == nil {
		err = io.ErrShortWrite
	}
	if n > 0 {
		c.fail(fmt.Errorf("qmp: a message was cut short: %w", err))
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("qmp: %w", err)
}

// sendFile writes one message with a descriptor of f attached to it.
func (c *Client) sendFile(request []byte, f *os.File) (n int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	control := raw.Control(func(fd uintptr) {
		n, _, err = c.conn.WriteMsgUnix(request, syscall.UnixRights(int(fd)), nil)
	})
	return n, errors.Join(control, err)
}

// read hands out what QEMU sends, until the connection ends.
func (c *Client) read(in *reader) {
	defer close(c.done)
	for {
		m, err := in.next()
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			c.fail(fmt.Errorf("qmp: %w", err))
			return
		}
		switch {
		case m.Event != "":
			c.onEvent(Event{Name: m.Event, Data: m.Data, Time: m.Timestamp.time()})
		case m.ID != nil:
			c.mu.Lock()
			answer := c.pending[*m.ID]
			delete(c.pending, *m.ID)
			c.mu.Unlock()
			if answer != nil {
				answer <- m // has room for the one answer there is
			}
		}
	}
}

// fail makes the connection useless for a reason, of which the first counts.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.conn.Close()
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection ended, and nil while it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and every call in flight. QEMU goes on.
func (c *Client) Close() {
	c.fail(ErrClosed)
	<-c.done
}

// A message is anything QEMU sends.
type message struct {
	Greeting  json.RawMessage `json:"QMP"`
	ID        *uint64         `json:"id"`
	Return    json.RawMessage `json:"return"`
	Error     *refusal        `json:"error"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp timestamp       `json:"timestamp"`
}

type refusal struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

type timestamp struct {
	Seconds      int64 `json:"seconds"`
	Microseconds int64 `json:"microseconds"`
}

func (t timestamp) time() time.Time { return time.Unix(t.Seconds, t.Microseconds*1000) }

// A reader cuts a stream into messages, one a line.
type reader struct{ lines *bufio.Scanner }

func newReader(r io.Reader) *reader {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxMessage)
	return &reader{lines}
}

// next returns the next message, or io.EOF. Empty lines are skipped. After
// any error the stream is of no use.
func (r *reader) next() (message, error) {
	for r.lines.Scan() {
		line := r.lines.Bytes()
		if len(line) == 0 {
			continue
		}
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			return message{}, fmt.Errorf("not a message: %w", err)
		}
		return m, nil
	}
	if err := r.lines.Err(); err != nil {
		return message{}, err
	}
	return message{}, io.EOF
}
