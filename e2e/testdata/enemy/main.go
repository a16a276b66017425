// Command enemy is a guest's agent that means harm: it takes the port of the
// real one, which must have ended, and does to the host what its argument says.
package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/guest/wire"
)

func main() {
	f, err := os.OpenFile(os.Args[2], os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, "enemy:", err)
		os.Exit(1)
	}
	os.WriteFile("/dev/kmsg", []byte("<3>enemy: it has the port\n"), 0) // for the console to show
	switch p := (port{f}); os.Args[1] {
	case "garbage":
		io.Copy(p, rand.Reader)
	case "close":
		for {
			f.Close()
			if f, err = os.OpenFile(os.Args[2], os.O_RDWR|unix.O_NONBLOCK, 0); err == nil {
				wire.NewListener(port{f}).Accept()
			}
		}
	case "stall":
		serve(p, nil)
	case "endless":
		serve(p, func(_ wire.Request, c net.Conn) {
			for lie := make([]byte, 64<<10); wire.Write(c, wire.Data, lie) == nil; {
			}
		})
	case "huge":
		serve(p, func(_ wire.Request, c net.Conn) { io.WriteString(c, "d\xFF\xFF\xFF\xFF") })
	case "lie":
		serve(p, func(_ wire.Request, c net.Conn) { wire.WriteJSON(c, wire.Head, wire.Exited{Code: 1 << 40}) })
	case "replay":
		replay(p)
	case "streams":
		serveWith(p, func(conn *wire.Conn) {
			mux, err := wire.Server(conn)
			for err == nil {
				_, err = mux.OpenStream() // the host's to open, not a guest's
			}
		}, nil)
	}
}

// serve takes up connections, takes any identity, and answers everything else by lie;
// not at all if that is nil.
func serve(p port, lie func(wire.Request, net.Conn)) { serveWith(p, nil, lie) }

func serveWith(p port, also func(*wire.Conn), lie func(wire.Request, net.Conn)) {
	for listener := wire.NewListener(p); ; {
		conn, err := listener.Accept()
		if err != nil {
			continue
		}
		if also != nil {
			also(conn)
			continue
		}
		mux, err := wire.Server(conn)
		for err == nil {
			var stream net.Conn
			if stream, err = mux.AcceptStream(); err == nil {
				go answer(stream, lie)
			}
		}
	}
}

func answer(stream net.Conn, lie func(wire.Request, net.Conn)) {
	frames := wire.NewReader(stream)
	var req wire.Request
	switch {
	case frames.Answer(&req) != nil:
	case req.Op != wire.OpIdentify && lie != nil:
		lie(req, stream)
		stream.Close()
	case req.Op == wire.OpIdentify && lie != nil:
		for step := (wire.Step{}); frames.Answer(&step) == nil && !step.Last; {
			wire.WriteJSON(stream, wire.Head, wire.Clock{Now: time.Now().UnixNano()})
		}
		wire.WriteJSON(stream, wire.Head, wire.Identified{})
	}
}

// replay is honest on the first connection, up to where something is asked of it, and then
// hangs up. On each later one it says what it said on that: from its greeting on, and by
// turns from what came after it, to a host that it greets as it should.
func replay(p port) {
	t := &tape{port: p}
	listener := wire.NewListener(t)
	conn, err := listener.Accept()
	if err != nil {
		return
	}
	greeting := len(t.said)
	mux, err := wire.Server(conn)
	for asked := false; err == nil && !asked; {
		var stream net.Conn
		if stream, err = mux.AcceptStream(); err == nil {
			answer(stream, func(wire.Request, net.Conn) { asked = true })
		}
	}
	mux.Close()
	said := t.said
	for again := 0; ; again++ {
		t.mute = again%2 == 0
		if _, err := listener.Accept(); err != nil {
			continue
		}
		if t.mute {
			p.Write(said)
		} else {
			p.Write(said[greeting:])
		}
	}
}

// A tape is a port that keeps what it is told to say, and may say nothing of it.
type tape struct {
	port
	said []byte
	mute bool
}

func (t *tape) Write(b []byte) (int, error) {
	t.said = append(t.said, b...)
	if t.mute {
		return len(b), nil
	}
	return t.port.Write(b)
}

// A port reads as ended while nobody has connected to it.
type port struct{ *os.File }

func (p port) Read(b []byte) (int, error) {
	for {
		n, err := p.File.Read(b)
		if n > 0 || err != io.EOF {
			return n, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
