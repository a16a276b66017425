package sshgate

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"
)

// maxForwards is how many sockets a connection may have listening in the guest.
const maxForwards = 100

// dialTCP connects a channel to a port, as seen from inside the guest.
func (c *conn) dialTCP(ch ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if ssh.Unmarshal(ch.ExtraData(), &to) != nil || to.Port > 65535 {
		ch.Reject(ssh.ConnectionFailed, "that is no address")
		return
	}
	c.dial(ch, "tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
}

// dialUnix connects a channel to a socket in the guest's file system.
func (c *conn) dialUnix(ch ssh.NewChannel) {
	var to struct {
		Path         string
		ReservedName string
		Reserved     uint32
	}
	if ssh.Unmarshal(ch.ExtraData(), &to) != nil {
		ch.Reject(ssh.ConnectionFailed, "that is no path")
		return
	}
	c.dial(ch, "unix", to.Path)
}

func (c *conn) dial(ch ssh.NewChannel, network, address string) {
	err := c.enter(c.ctx, nil, func(ctx context.Context, in *inside) error {
		there, err := in.Dial(ctx, c.name.user, network, address)
		if err != nil {
			ch.Reject(ssh.ConnectionFailed, err.Error())
			return nil
		}
		in.release()
		channel, requests, err := ch.Accept()
		if err != nil {
			there.Close()
			return nil
		}
		go ssh.DiscardRequests(requests)
		relay(ctx, channel, there, in.touch)
		return nil
	})
	if err != nil {
		c.refuse(ch, err)
	}
}

// A stream is a connection that can be closed for writing only.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// relay passes on what two have to say to each other, until both have no more,
// one of them is gone, or ctx ends. It closes both.
func relay(ctx context.Context, a ssh.Channel, conn net.Conn, touch func()) {
	b := conn.(stream)
	hangUp := func() {
		a.Close()
		b.Close()
	}
	defer hangUp()
	defer context.AfterFunc(ctx, hangUp)()
	var both sync.WaitGroup
	pass := func(to, from stream) {
		if _, err := io.Copy(touchingWriter{to, touch}, from); err != nil {
			hangUp()
			return
		}
		to.CloseWrite()
	}
	both.Go(func() { pass(a, b) })
	both.Go(func() { pass(b, a) })
	both.Wait()
}

// forwards are the sockets in the guest that a connection listens on.
type forwards struct {
	mu   sync.Mutex
	open map[forward]net.Listener
}

// A forward is a socket, as the client calls it.
type forward struct{ network, host, port string }

// request does what the client wants of the connection.
func (c *conn) request(r *ssh.Request) (ok bool, payload []byte) {
	var at forward
	var tcp struct {
		Host string
		Port uint32
	}
	var unix struct{ Path string }
	switch r.Type {
	case "tcpip-forward", "cancel-tcpip-forward":
		if ssh.Unmarshal(r.Payload, &tcp) != nil || tcp.Port > 65535 {
			return false, nil
		}
		at = forward{"tcp", tcp.Host, strconv.Itoa(int(tcp.Port))}
	case "streamlocal-forward@openssh.com", "cancel-streamlocal-forward@openssh.com":
		if ssh.Unmarshal(r.Payload, &unix) != nil {
			return false, nil
		}
		at = forward{"unix", unix.Path, ""}
	default:
		return false, nil // a client that asks whether we are there is content with that
	}
	switch r.Type {
	case "cancel-tcpip-forward", "cancel-streamlocal-forward@openssh.com":
		return c.forwards.close(at), nil
	}
	port, err := c.listen(at)
	if err != nil {
		c.Log.Info("ssh: no forwarding", "vm", c.name.vm, "reason", c.explain(err))
		return false, nil
	}
	if at.network == "tcp" && tcp.Port == 0 {
		payload = ssh.Marshal(struct{ Port uint32 }{port})
	}
	return true, payload
}

// listen listens in the guest until the client has enough or the connection
// ends, and returns at which port. What has connected goes on until the end.
func (c *conn) listen(at forward) (port uint32, err error) {
	type outcome struct {
		port uint32
		err  error
	}
	listens := make(chan outcome, 1)
	begun := c.begin(func() {
		err := c.enter(c.ctx, nil, func(ctx context.Context, in *inside) error {
			l, err := in.Listen(ctx, c.name.user, at.network, at.address())
			if err != nil {
				return err
			}
			defer l.Close()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			n, _ := strconv.Atoi(port)
			if at.network == "tcp" {
				at.port = port
			}
			if err := c.forwards.add(at, l); err != nil {
				return err
			}
			defer c.forwards.drop(at, l)
			in.release()
			listens <- outcome{port: uint32(n)}
			defer context.AfterFunc(ctx, func() { l.Close() })()
			c.accept(ctx, l, in, at.kind(), at.opening(uint32(n)))
			return nil
		})
		listens <- outcome{err: err}
	})
	if !begun {
		return 0, net.ErrClosed
	}
	o := <-listens
	return o.port, o.err
}

// accept opens a channel to the client for each connection to l, until l is
// closed, and returns when all of those are over. They end with ctx.
func (c *conn) accept(ctx context.Context, l net.Listener, in *inside, kind string, opening func(from net.Addr) []byte) {
	var relays sync.WaitGroup
	defer relays.Wait()
	for {
		there, err := l.Accept()
		if err != nil {
			return
		}
		relays.Go(func() {
			channel, requests, err := c.ssh.OpenChannel(kind, opening(there.RemoteAddr()))
			if err != nil {
				there.Close()
				return
			}
			go ssh.DiscardRequests(requests)
			relay(ctx, channel, there, in.touch)
		})
	}
}

func (at forward) address() string {
	switch {
	case at.network == "unix":
		return at.host
	case at.host == "*":
		return net.JoinHostPort("", at.port)
	}
	return net.JoinHostPort(at.host, at.port)
}

// kind is of what kind the channels are that are opened for a forward.
func (at forward) kind() string {
	if at.network == "unix" {
		return "forwarded-streamlocal@openssh.com"
	}
	return "forwarded-tcpip"
}

// opening returns what a channel is opened with, for a connection from an address.
func (at forward) opening(port uint32) func(from net.Addr) []byte {
	return func(from net.Addr) []byte {
		if at.network == "unix" {
			return ssh.Marshal(struct{ Path, Reserved string }{at.host, ""})
		}
		host, fromPort, _ := net.SplitHostPort(from.String())
		n, _ := strconv.Atoi(fromPort)
		return ssh.Marshal(struct {
			Host       string
			Port       uint32
			OriginHost string
			OriginPort uint32
		}{at.host, port, host, uint32(n)})
	}
}

func (f *forwards) add(at forward, l net.Listener) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.open) >= maxForwards {
		return fmt.Errorf("more than %d sockets listen for the connection", maxForwards)
	}
	if f.open == nil {
		f.open = map[forward]net.Listener{}
	}
	f.open[at] = l
	return nil
}

// close stops listening, if it was begun.
func (f *forwards) close(at forward) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.open[at]
	if l == nil {
		return false
	}
	delete(f.open, at)
	l.Close()
	return true
}

// drop forgets a listener that has closed. The client may have another at the
// same address by now.
func (f *forwards) drop(at forward, l net.Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[at] == l {
		delete(f.open, at)
	}
}

// forwardAgent lets programs in the guest reach the client's agent, until stop.
// It adds to env where they find it.
func (s *session) forwardAgent(ctx context.Context, in *inside, env *[]string) (stop func(), err error) {
	path := "/tmp/ssh-agent-" + rand.Text() + ".sock"
	l, err := in.Listen(ctx, s.name.user, "unix", path)
	if err != nil {
		return nil, err
	}
	if !s.begin(func() {
		s.accept(ctx, l, in, "auth-agent@openssh.com", func(net.Addr) []byte { return nil })
	}) {
		l.Close()
		return nil, net.ErrClosed
	}
	*env = append(*env, "SSH_AUTH_SOCK="+path)
	return func() { l.Close() }, nil
}
