package e2e

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/coppice-vm/coppice/api"
)

//go:embed ingress_server.py
var ingressServer string

// A VM is reached by HTTP as people reach machines: by curl, by WebSockets, by
// event streams; asleep, awake, stopped, and by two hundred at once.
func TestIngress(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	url := ingressURL(vm, 3000)
	if status, body := curl(t, url); status != 502 || !strings.Contains(body, "nothing listens on port 3000") {
		t.Errorf("before the server is there: %d %s", status, body)
	}
	sh(t, c, vm, "ip link set lo up\ncat >/root/server.py <<'EOF'\n"+ingressServer+"EOF\n"+
		"nohup python3 /root/server.py >/root/server.log 2>&1 &\n"+
		"for i in $(seq 600); do test -s /root/server.log && exit; sleep 0.1; done; exit 1")

	if status, body := curl(t, url+"/hello?a=b"); status != 200 || body != "GET /hello?a=b for "+strings.TrimPrefix(url, "http://")+" from 127.0.0.1" {
		t.Errorf("curl: %d %q", status, body)
	}
	if status, body := curl(t, url, "--http2-prior-knowledge", "-d", "some=form"); status != 200 || body != "some=form" {
		t.Errorf("curl by HTTP/2: %d %q", status, body)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if pem, err := exec.Command(install.program, "ca").Output(); err != nil || os.WriteFile(ca, pem, 0o600) != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(install.https)
	secure := fmt.Sprintf("https://3000-%s.vm.localhost:%s", vm, port)
	if status, body := curl(t, secure+"/", "--cacert", ca, "--http2"); status != 200 || !strings.HasPrefix(body, "GET / for 3000-") {
		t.Errorf("curl by HTTPS: %d %q", status, body)
	}
	t.Run("WebSocket", func(t *testing.T) { echoWebSocket(t, url) })
	t.Run("forward", func(t *testing.T) { useForward(t, vm) })
	t.Run("two hundred at once", func(t *testing.T) { manyRequests(t, url, 200) })
	t.Run("large body", func(t *testing.T) {
		const size = 32 << 20
		resp, err := ingressClient.Post(url+"/", "application/octet-stream", io.LimitReader(&numbers{}, size))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
			t.Errorf("%d bytes came back, %v", n, err)
		}
	})
	t.Run("events through a suspend", func(t *testing.T) {
		events, closed := openEvents(t, url)
		before := <-events
		if _, err := c.Suspend(deadline(t), vm); err != nil {
			t.Fatal(err)
		}
		<-closed // and a browser asks again
		events, _ = openEvents(t, url)
		if after := <-events; after <= before {
			t.Errorf("event %d after %d: the program did not go on", after, before)
		}
		if state := awaitState(t, c, vm, api.Running); state.Reason != "woken for http" {
			t.Errorf("it runs because: %q", state.Reason)
		}
	})
	t.Run("asleep", func(t *testing.T) {
		if _, err := c.Suspend(deadline(t), vm); err != nil {
			t.Fatal(err)
		}
		manyRequests(t, url, 20) // all wait for one wake
	})
	if _, err := c.Stop(deadline(t), vm); err != nil {
		t.Fatal(err)
	}
	if status, body := curl(t, url, "-H", "Accept: text/html"); status != 503 || !strings.Contains(body, "<h1>Not running</h1>") {
		t.Errorf("stopped: %d %s", status, body)
	}
}

// ingressURL is where a port of a VM is.
func ingressURL(vm string, port int) string {
	_, ingressPort, _ := net.SplitHostPort(install.ingress)
	return fmt.Sprintf("http://%d-%s.vm.localhost:%s", port, vm, ingressPort)
}

// ingressClient finds every name at the ingress.
var ingressClient = &http.Client{
	Timeout: callDeadline,
	Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", install.ingress)
	}},
}

// curl returns the status of an answer, and its body.
func curl(t *testing.T, url string, args ...string) (status int, body string) {
	t.Helper()
	cmd := exec.CommandContext(deadline(t), "curl", append([]string{"-sS", "-w", "\n%{http_code}", url}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	at := strings.LastIndexByte(string(out), '\n')
	status, err = strconv.Atoi(string(out[at+1:]))
	if err != nil {
		t.Fatalf("%v: %q", cmd, out)
	}
	return status, string(out[:at])
}

func echoWebSocket(t *testing.T, url string) {
	ctx := deadline(t)
	conn, _, err := websocket.Dial(ctx, url+"/socket", &websocket.DialOptions{HTTPClient: ingressClient})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for i := range 3 {
		want := fmt.Sprint("message ", i)
		if err := conn.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(ctx); err != nil || string(got) != want {
			t.Fatalf("%q came back as %q, %v", want, got, err)
		}
	}
}

// useForward forwards a port here to the server in a VM, and calls it by many
// connections.
func useForward(t *testing.T, vm string) {
	local, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	forward := exec.CommandContext(t.Context(), install.program, "forward", vm, local+":3000")
	out, err := forward.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), local+" leads to port 3000") {
		t.Fatalf("forward says %q", lines.Text())
	}
	for range 3 {
		if status, body := curl(t, "http://"+local+"/direct"); status != 200 || !strings.HasPrefix(body, "GET /direct for "+local) {
			t.Errorf("%d %q", status, body)
		}
	}
	if err := forward.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := forward.Wait(); err != nil {
		t.Error(err)
	}
}

// manyRequests sends n requests at once, which are all to be answered.
func manyRequests(t *testing.T, url string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			want := fmt.Sprint("request ", i)
			resp, err := ingressClient.Post(url, "text/plain", strings.NewReader(want))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); string(got) != want || err != nil {
				t.Errorf("%q came back as %q, %v", want, got, err)
			}
		})
	}
	wg.Wait()
}

// openEvents returns the numbers of an event stream. closed is closed when it ends.
func openEvents(t *testing.T, url string) (events <-chan int, closed <-chan struct{}) {
	t.Helper()
	req, err := http.NewRequestWithContext(deadline(t), "GET", url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := ingressClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	t.Cleanup(func() { resp.Body.Close() })
	numbers, end := make(chan int, 1<<16), make(chan struct{})
	go func() {
		defer close(end)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if n, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "data: ")); err == nil {
				numbers <- n
			}
		}
	}()
	return numbers, end
}
