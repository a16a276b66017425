package http

import (
	"io"
	"net"
	"strconv"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/client"
)

// echo returns a port that says what it is told, and ends when it is told so.
func echo(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// What goes into a forwarded port comes back, and its end too. The VM is in use
// while it connects, and when bytes move.
func TestForward(t *testing.T) {
	h := newHarness(t)
	vm := string(h.vms.add(coppice.VM{}))
	c, err := client.New(h.url, "alice-key")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn, err := c.Dial(t.Context(), vm, "bob", echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "hello ")
	io.WriteString(conn, "there")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello there" {
		t.Errorf("%q came back, %v", got, err)
	}
	h.vms.mu.Lock()
	defer h.vms.mu.Unlock()
	if h.vms.inUse != 0 || h.vms.touched == 0 {
		t.Errorf("%d in use, touched %d times", h.vms.inUse, h.vms.touched)
	}
}

func TestForwardRefused(t *testing.T) {
	h := newHarness(t)
	vm := string(h.vms.add(coppice.VM{}))
	stopped := string(h.vms.add(coppice.VM{State: coppice.Stopped}))
	listening := strconv.Itoa(int(echo(t)))
	for _, c := range []struct {
		path, user string
		status     int
		code       coppice.Code
	}{
		{vm + "/forward/0", "", 400, coppice.CodeInvalidRequest},
		{vm + "/forward/65536", "", 400, coppice.CodeInvalidRequest},
		{vm + "/forward/http", "", 400, coppice.CodeInvalidRequest},
		{vm + "/forward/1", "", 502, coppice.CodeUnavailable},
		{vm + "/forward/" + listening, "mallory", 404, coppice.CodeUserNotFound},
		{vm + "/forward/" + listening, "", 426, coppice.CodeInvalidRequest}, // not a WebSocket
		{stopped + "/forward/" + listening, "", 400, coppice.CodeVMNotRunning},
	} {
		if a := h.do("GET", "/v1/vms/"+c.path, "", "X-Freestyle-Vm-Linux-User-Id: "+c.user); a.status != c.status || a.code() != string(c.code) {
			t.Errorf("%s as %q: %d %s", c.path, c.user, a.status, a.body)
		}
	}
}

// Where VMs are by HTTP, if they are anywhere.
func TestIngressURL(t *testing.T) {
	h := newHarness(t)
	if a := h.do("GET", "/v1/ingress", ""); a.status != 501 || a.code() != "SERVICE_UNAVAILABLE" {
		t.Errorf("%d %s", a.status, a.body)
	}
	h.server.config.Ingress.URL = "http://{port}-{vm}.vm.localhost"
	if a := h.do("GET", "/v1/ingress", ""); a.status != 200 || a.body != `{"url":"http://{port}-{vm}.vm.localhost"}`+"\n" {
		t.Errorf("%d %s", a.status, a.body)
	}
}
