package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

const (
	benchPort     = 3999
	bulk          = 64 * mebi
	fetchDeadline = time.Minute // many times what a request takes
)

// benchServer is what a VM serves to be measured: as many bytes as the path
// says, and an end to those that it is sent.
const benchServer = `cat >/root/bench.py <<'END'
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    def log_message(self, *args): pass
    def answer(self, n):
        self.send_response(200)
        self.send_header("Content-Length", str(n))
        self.end_headers()
        piece = bytes(1 << 18)
        while n > 0:
            n -= self.wfile.write(piece[:n])
    def do_GET(self): self.answer(int(self.path[1:]))
    def do_POST(self):
        left = int(self.headers["Content-Length"])
        while left > 0: left -= len(self.rfile.read(min(left, 1 << 18)))
        self.answer(0)
http.server.ThreadingHTTPServer(("0.0.0.0", 3999), Handler).serve_forever()
END
nohup python3 /root/bench.py >/root/bench.log 2>&1 &
for i in $(seq 600); do curl -fs http://127.0.0.1:3999/0 && exit; sleep 0.1; done; exit 1`

// benchNet measures how a VM is reached by HTTP: by the ingress, and, to compare
// with, by a connection that is made in the VM's network namespace.
func benchNet(ctx context.Context, b *bench, rounds int) error {
	where, err := b.client.Ingress(ctx)
	if err != nil {
		return err
	}
	id, err := b.create(ctx, api.VMSpec{})
	if err != nil {
		return err
	}
	b.step.Note("starting a server in a VM")
	if err := b.run(ctx, id, benchServer); err != nil {
		return err
	}
	base := strings.NewReplacer("{port}", strconv.Itoa(benchPort), "{vm}", id).Replace(where.URL)
	address, err := url.Parse(base)
	if err != nil {
		return err
	}
	ingress := visitor{base: base, dial: func(ctx context.Context) (net.Conn, error) {
		if b.local { // where the name need not be known
			return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", address.Port()))
		}
		return new(net.Dialer).DialContext(ctx, "tcp", address.Host)
	}}
	if err := b.visit(ctx, ingress, rounds, b.record); err != nil {
		return err
	}
	if b.local {
		namespace := filepath.Join(b.dir.Networks(), id)
		direct := visitor{base: "http://vm", dial: func(ctx context.Context) (net.Conn, error) { return dialInside(ctx, namespace) }}
		if err := b.visit(ctx, direct, rounds, b.recordBaseline); err != nil {
			return err
		}
	}
	b.note("the VM runs python3's http.server, which is most of what is measured where its processor is emulated")
	return b.wakes(ctx, id, ingress, min(rounds, 5))
}

// dialInside connects to the server from inside the VM's network namespace.
func dialInside(ctx context.Context, namespace string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var ns *os.File
		if ns, err = os.Open(namespace); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			conn, err = new(net.Dialer).DialContext(ctx, "tcp4", netip.AddrPortFrom(coppice.GuestAddress.Addr(), benchPort).String())
		}
	}()
	<-done
	return conn, err
}

// A visitor calls the server in a VM.
type visitor struct {
	base string
	dial func(context.Context) (net.Conn, error)
}

func (v visitor) client(keepAlive bool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return v.dial(ctx) },
		DisableKeepAlives: !keepAlive,
	}}
}

// fetch makes a request, which sends so many bytes, and reads the answer to its end.
func fetch(ctx context.Context, c *http.Client, method, url string, sends int64) (err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchDeadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	if sends > 0 {
		req.Body, req.ContentLength = io.NopCloser(io.LimitReader(zeros{}, sends)), sends
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, url, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// visit measures small requests and large bodies of a visitor.
func (b *bench) visit(ctx context.Context, v visitor, rounds int, record func(string, time.Duration)) error {
	for _, m := range []struct {
		name, method    string
		keepAlive       bool
		receives, sends int64
		rounds          int
	}{
		{"GET, connection kept", "GET", true, 0, 0, rounds},
		{"GET, new connection", "GET", false, 0, 0, rounds},
		{"64 MiB from a VM", "GET", true, bulk, 0, min(rounds, 3)},
		{"64 MiB to a VM", "POST", true, 0, bulk, min(rounds, 3)},
	} {
		c := v.client(m.keepAlive)
		err := b.repeat(ctx, m.rounds, m.name, func() error {
			start := time.Now()
			if err := fetch(ctx, c, m.method, fmt.Sprintf("%s/%d", v.base, m.receives), m.sends); err != nil {
				return err
			}
			record(m.name, time.Since(start))
			return nil
		})
		c.CloseIdleConnections()
		if err != nil {
			return err
		}
	}
	return nil
}

// wakes measures requests to a VM that is asleep.
func (b *bench) wakes(ctx context.Context, id string, v visitor, rounds int) error {
	c := v.client(false)
	return b.repeat(ctx, rounds, "waking it", func() error {
		if _, err := b.client.Suspend(ctx, id); err != nil {
			return err
		}
		start := time.Now()
		if err := fetch(ctx, c, "GET", v.base+"/0", 0); err != nil {
			return err
		}
		b.add("GET to a suspended VM", start)
		return nil
	})
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
