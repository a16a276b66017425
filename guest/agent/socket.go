package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/guest/wire"
)

const (
	// dialDeadline bounds the wait for whoever listens.
	dialDeadline = 15 * time.Second
	// arrivals is how many connections wait for the host to take them. More
	// wait in the kernel.
	arrivals = 32
	// arrivalDeadline is how long one waits.
	arrivalDeadline = 30 * time.Second
)

// A socket is a connection that can be closed for writing only.
type socket interface {
	net.Conn
	CloseWrite() error
}

// dial connects to a socket as a user, and relays.
func (x *exchange) dial() error {
	u, err := x.socketUser()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialDeadline)
	defer cancel()
	var conn net.Conn
	connect := func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, x.Socket.Network, x.Socket.Address)
		return err
	}
	if x.Socket.Network == "unix" {
		err = u.as(connect) // this stays on the thread
	} else {
		err = connect()
	}
	if err != nil {
		return err
	}
	return x.relaySocket(conn.(socket))
}

// socketUser returns the user that is to own a socket of a kind that is served.
func (x *exchange) socketUser() (user, error) {
	if x.Socket.Network != "tcp" && x.Socket.Network != "unix" {
		return user{}, fmt.Errorf("sockets are tcp or unix, not %q: %w", x.Socket.Network, fs.ErrInvalid)
	}
	return x.agent.lookUp(x.Socket.User)
}

// relaySocket passes on what a connection and the host have to say to each
// other, until both have no more, or one of them is gone.
func (x *exchange) relaySocket(conn socket) error {
	defer conn.Close()
	if err := x.answer(wire.Done{}); err != nil {
		return nil // the host has left
	}
	var fromHost sync.WaitGroup
	fromHost.Go(func() {
		for {
			frame, err := x.frames.Next(wire.MaxFrame)
			switch {
			case err != nil:
				conn.Close() // the host's end is closed
				return
			case frame.Kind == wire.Data:
				if _, err := conn.Write(frame.Content); err != nil {
					x.stream.Close()
					return
				}
			case frame.Kind == wire.End:
				conn.CloseWrite()
			}
		}
	})
	if err := x.sendContent(conn); err == nil {
		wire.Write(x.stream, wire.End, nil)
		fromHost.Wait() // what the host still sends, up to its close
		return nil
	}
	x.stream.Close()
	return nil
}

// A listener has connections wait for the host.
type listener struct {
	mu      sync.Mutex
	last    uint32
	waiting map[uint32]socket
	room    chan struct{} // has an element for each that waits
}

// listen reports the connections to a socket, until the host closes the stream.
func (x *exchange) listen() error {
	u, err := x.socketUser()
	if err != nil {
		return err
	}
	accepting, err := u.listen(x.Socket)
	if err != nil {
		return err
	}
	// As the user, for it removes the path of a unix socket, whatever that is by then.
	stop := func() { u.as(accepting.Close) }
	defer stop()
	l := &listener{waiting: map[uint32]socket{}, room: make(chan struct{}, arrivals)}
	x.mu.Lock()
	x.listeners[x.stream.StreamID()] = l
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		delete(x.listeners, x.stream.StreamID())
		x.mu.Unlock()
		l.close()
	}()
	if err := x.answer(wire.Listening{Address: accepting.Addr().String()}); err != nil {
		return nil
	}
	go func() {
		x.frames.Next(wire.MaxFrame) // nothing but the end is to come
		stop()
		l.close()
	}()
	for {
		conn, err := accepting.Accept()
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ECONNABORTED) {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if err != nil {
			return nil
		}
		number, ok := l.arrive(conn.(socket))
		if !ok {
			return nil
		}
		if err := x.announce(wire.Arrival{Number: number, From: conn.RemoteAddr().String()}); err != nil {
			return nil
		}
	}
}

// listen listens as the user.
func (u user) listen(s *wire.Socket) (l net.Listener, err error) {
	if s.Network == "tcp" {
		if u.uid != 0 && privileged(s.Address) { // the agent may, who asks may not
			return nil, fmt.Errorf("listen on %s: %w", s.Address, fs.ErrPermission)
		}
		return net.Listen(s.Network, s.Address)
	}
	err = u.as(func() error {
		if l, err = net.Listen(s.Network, s.Address); err != nil {
			return err
		}
		if err := os.Chmod(s.Address, 0o600); err != nil {
			l.Close()
			return err
		}
		return nil
	})
	return l, err
}

// privileged reports whether only root may listen on an address.
func privileged(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	n, err := net.LookupPort("tcp", port)
	return err == nil && n > 0 && n < 1024
}

func (x *exchange) announce(arrival wire.Arrival) error {
	content, err := json.Marshal(arrival)
	if err != nil {
		return err
	}
	return wire.Write(x.stream, wire.Data, content)
}

// arrive has a connection wait, if there is room or once there is; false if
// the listener is closed meanwhile.
func (l *listener) arrive(conn socket) (number uint32, ok bool) {
	l.room <- struct{}{}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		conn.Close()
		return 0, false
	}
	l.last++
	number = l.last
	l.waiting[number] = conn
	time.AfterFunc(arrivalDeadline, func() {
		if conn := l.take(number); conn != nil {
			conn.Close()
		}
	})
	return number, true
}

// take returns a connection that waits, which does not wait any more; nil if there is none.
func (l *listener) take(number uint32) socket {
	l.mu.Lock()
	defer l.mu.Unlock()
	conn := l.waiting[number]
	if conn != nil {
		delete(l.waiting, number)
		<-l.room
	}
	return conn
}

// close closes what waits. Closing again does nothing.
func (l *listener) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.waiting {
		conn.Close()
		<-l.room
	}
	l.waiting = nil
}

// accept relays a connection that has arrived at a listener of this session.
func (x *exchange) accept() error {
	x.mu.Lock()
	l := x.listeners[x.Stream]
	x.mu.Unlock()
	var conn socket
	if l != nil {
		conn = l.take(x.Arrival)
	}
	if conn == nil {
		return fmt.Errorf("no such connection waits: %w", syscall.ECONNREFUSED)
	}
	return x.relaySocket(conn)
}
