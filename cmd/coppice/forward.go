package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coppice-vm/coppice/client"
	"github.com/coppice-vm/coppice/internal/wsconn"
)

func (m *Main) forwardCommand() *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use:   "forward VM [[ADDRESS:]LOCAL:]REMOTE...",
		Short: "Have ports of this machine lead to ports of a VM, until Ctrl-C",
		Long: `Have ports of this machine lead to ports of a VM, until Ctrl-C.

Whatever speaks TCP goes through, to what listens in the VM on any of its
addresses, loopback included. LOCAL is REMOTE where it is not given, and a free
port where it is 0; ADDRESS is 127.0.0.1. A VM that is suspended wakes for a
connection.`,
		Example: `  coppice forward hello 8080:80
  coppice forward hello 5432 0.0.0.0:8000:3000`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: m.completeVM,
		RunE: m.then(func(ctx context.Context, args []string) error {
			return m.forward(ctx, args[0], user, args[1:])
		}),
	}
	cmd.Flags().StringVarP(&user, "user", "u", "", "user of the VM to connect as, by name or number (default root)")
	return cmd
}

// A forwarding is a port here that leads to one of a VM.
type forwarding struct {
	Local  string `json:"local"`
	Remote uint16 `json:"remote"`
}

// parseForwarding reads [[ADDRESS:]LOCAL:]REMOTE.
func parseForwarding(s string) (forwarding, error) {
	bad := func(why string) (forwarding, error) {
		return forwarding{}, fmt.Errorf("%q: %s; want [[ADDRESS:]LOCAL:]REMOTE, as in 8080:80", s, why)
	}
	local, remote := "127.0.0.1:"+s, s
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		local, remote = s[:i], s[i+1:]
		if !strings.Contains(local, ":") {
			local = "127.0.0.1:" + local
		}
	}
	_, localPort, err := net.SplitHostPort(local)
	if err != nil {
		return bad("that is no address")
	}
	if _, err := strconv.ParseUint(localPort, 10, 16); err != nil {
		return bad("a local port is a number up to 65535")
	}
	port, err := parsePort(remote)
	if err != nil {
		return bad(err.Error())
	}
	return forwarding{local, port}, nil
}

func (m *Main) forward(ctx context.Context, ref, user string, specs []string) error {
	all := make([]forwarding, len(specs))
	for i, spec := range specs {
		var err error
		if all[i], err = parseForwarding(spec); err != nil {
			return err
		}
	}
	c, err := m.client()
	if err != nil {
		return err
	}
	id, err := find(ctx, c, ref)
	if err != nil {
		return err
	}
	var connections sync.WaitGroup
	defer connections.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range all {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", all[i].Local)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { listener.Close() })
		all[i].Local = listener.Addr().String()
		connections.Go(func() {
			m.acceptAll(ctx, listener, func(conn *net.TCPConn) { m.connect(ctx, c, id, user, all[i].Remote, conn) })
		})
	}
	err = m.print(all, func(w *tabwriter.Writer) {
		for _, f := range all {
			fmt.Fprintf(w, "%s leads to port %d of %s\n", f.Local, f.Remote, ref)
		}
	})
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// acceptAgain is how long a port rests that could not take a connection.
const acceptAgain = 100 * time.Millisecond

// acceptAll serves what connects, until the listener is closed or ctx ends, and
// all is over.
func (m *Main) acceptAll(ctx context.Context, listener net.Listener, serve func(*net.TCPConn)) {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many files, say: others may still end
			m.report(err)
			select {
			case <-time.After(acceptAgain):
				continue
			case <-ctx.Done():
				return
			}
		}
		connections.Go(func() { serve(conn.(*net.TCPConn)) })
	}
}

// connect connects what came to the VM, until either has enough.
func (m *Main) connect(ctx context.Context, c *client.Client, id, user string, port uint16, conn *net.TCPConn) {
	defer conn.Close()
	remote, err := c.Dial(ctx, id, user, port)
	if err != nil {
		if ctx.Err() == nil {
			m.report(err)
		}
		return
	}
	_ = wsconn.Join(conn, remote) // whoever is connected sees that it broke
}
