//go:build failpoints

package sweep_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"io/fs"
	"math"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/coppice-vm/coppice/guest/wire"
)

// A lie is what an agent does instead of its work. It is told at one of these
// stages, and all before it are honest.
type lie struct {
	name string
	// port is told before the host is greeted.
	port func(net.Conn)
	// conn is what the agent says by, once it has greeted the host.
	conn func(io.ReadWriteCloser) io.ReadWriteCloser
	// identity answers an identity, request every other request.
	identity, request func(net.Conn)
}

// lies are those that can be told at every stage; those of the adapter's own
// tests cost no time and no state, and are not told here again.
func lies() []lie {
	all := []lie{
		{name: "says nothing", port: silence},
		{name: "talks nonsense", port: func(c net.Conn) { flood(c, []byte("\x00nonsense")) }},
		{name: "greets another host", port: func(c net.Conn) {
			c.Write([]byte("\xF5\x01G\x01another's epoch!")) // as the answer to a host before
			silence(c)
		}},
		{name: "hangs up", port: func(net.Conn) {}},
		{name: "deafness for an answer", request: deafness},
		{name: "a listing in drips for an answer", request: drips(wire.FileInfo{Mode: fs.ModeDir}, "fname\x00")},
		{name: "a listing of nothing for an answer", request: drips(wire.FileInfo{Mode: fs.ModeDir}, "")},
		{name: "a file in drips for an answer", request: drips(wire.FileInfo{}, "x")},
		{name: "a file of nothing for an answer", request: drips(wire.FileInfo{}, "")},
		{name: "says everything twice", conn: func(c io.ReadWriteCloser) io.ReadWriteCloser { return twice{c} }},
		{name: "answers other streams", conn: func(c io.ReadWriteCloser) io.ReadWriteCloser { return elsewhere{c} }},
		{name: "hangs up in a frame", conn: func(c io.ReadWriteCloser) io.ReadWriteCloser { return &cutOff{ReadWriteCloser: c, left: 30} }},
	}
	for name, tell := range map[string]func(net.Conn){
		"silence":             silence,
		"a frame without end": func(c net.Conn) { io.WriteString(c, "d\xFF\xFF\xFF\xFF"); silence(c) },
		"half a frame":        func(c net.Conn) { io.WriteString(c, "h\x00\x00\x01\x00{") },
		"a status of 2^40":    func(c net.Conn) { wire.WriteJSON(c, wire.Head, wire.Exited{Code: 1 << 40}) },
		"a clock of 2^63-1":   func(c net.Conn) { wire.WriteJSON(c, wire.Head, wire.Clock{Now: math.MaxInt64}); silence(c) },
		"an error": func(c net.Conn) {
			wire.WriteJSON(c, wire.Fail, wire.Error{Cause: "of no kind", Message: strings.Repeat("\x1b[2J", 1000)})
		},
		"output without end": func(c net.Conn) {
			var frame bytes.Buffer
			wire.Write(&frame, wire.Data, make([]byte, 1000))
			flood(c, frame.Bytes())
		},
	} {
		all = append(all, lie{name: name + " for an identity", identity: tell}, lie{name: name + " for an answer", request: tell})
	}
	return all
}

// drips says something again and again, after an answer.
func drips(answer any, what string) func(net.Conn) {
	return func(c net.Conn) {
		wire.WriteJSON(c, wire.Head, answer)
		go io.Copy(io.Discard, c)
		for wire.Write(c, wire.Data, []byte(what)) == nil {
			time.Sleep(20 * time.Second)
		}
	}
}

// deafness says nothing and reads nothing, until the host has hung up.
func deafness(c net.Conn) { <-c.(*yamux.Stream).Session().CloseChan() }

// silence says nothing, until the host has had enough.
func silence(c net.Conn) { io.Copy(io.Discard, c) }

// flood says something without end, and not all at once: the clock of the tests
// stands still while anybody does anything.
func flood(c net.Conn, what []byte) {
	go io.Copy(io.Discard, c)
	for {
		if _, err := c.Write(what); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

type twice struct{ io.ReadWriteCloser }

func (t twice) Write(p []byte) (int, error) {
	t.ReadWriteCloser.Write(p)
	return t.ReadWriteCloser.Write(p)
}

// elsewhere says everything on streams that the host has not opened.
type elsewhere struct{ io.ReadWriteCloser }

func (e elsewhere) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	binary.BigEndian.PutUint32(p[4:], 1001) // yamux's header: version, type, flags, stream, length
	return e.ReadWriteCloser.Write(p)
}

// cutOff hangs up after so many bytes.
type cutOff struct {
	io.ReadWriteCloser
	left int
}

func (c *cutOff) Write(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Write(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 {
		c.Close()
		return n, io.ErrClosedPipe
	}
	return n, err
}
