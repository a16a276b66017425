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
	"time"

	"github.com/coder/websocket"

	"github.com/coppice-vm/coppice/api"
	"github.com/coppice-vm/coppice/client"
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
	t.Run("as gRPC", func(t *testing.T) {
		serveHTTP2(t, c, vm)
		callByHTTP2(t, ingressURL(vm, 3001))
	})
	for _, version := range []string{"http/1.1", "h2c"} {
		t.Run("two hundred connections, "+version, func(t *testing.T) { load(t, ingressURL(vm, 3001), version) })
	}
	t.Run("fork with everything open", func(t *testing.T) { forkInUse(t, c, vm, url) })
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
	t.Run("private", func(t *testing.T) { visitPrivate(t, c, vm, url) })
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
	Timeout:   callDeadline,
	Transport: &http.Transport{DialContext: dialIngress},
}

func dialIngress(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", install.ingress)
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
	say := openWebSocket(t, url)
	for i := range 3 {
		say(fmt.Sprint("message ", i))
	}
}

// openWebSocket returns what sends a message, which is to come back.
func openWebSocket(t *testing.T, url string) (say func(string)) {
	t.Helper()
	ctx := deadline(t)
	conn, _, err := websocket.Dial(ctx, url+"/socket", &websocket.DialOptions{HTTPClient: ingressClient})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return func(text string) {
		t.Helper()
		if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(ctx); err != nil || string(got) != text {
			t.Fatalf("%q came back as %q, %v", text, got, err)
		}
	}
}

// serveHTTP2 runs testdata's server in a VM.
func serveHTTP2(t *testing.T, c *client.Client, vm string) {
	program := filepath.Join(t.TempDir(), "h2server")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "testdata/h2server.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	person{t: t}.does("cp", program, vm+":/root/h2server")
	sh(t, c, vm, "nohup /root/h2server >/root/h2server.log 2>&1 &\n"+
		"for i in $(seq 600); do curl -fs http://127.0.0.1:3001/ && exit; sleep 0.1; done; exit 1")
}

// callByHTTP2 makes a call as gRPC does: both ways at once, with trailers.
func callByHTTP2(t *testing.T, url string) {
	transport := &http.Transport{DialContext: dialIngress, Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	body, lines := io.Pipe()
	req, err := http.NewRequestWithContext(deadline(t), "POST", url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers := bufio.NewScanner(resp.Body)
	for i := range 3 {
		fmt.Fprintln(lines, i)
		if want := fmt.Sprint("HTTP/2.0 ", i); !answers.Scan() || answers.Text() != want {
			t.Fatalf("%q came back, want %q: %v", answers.Text(), want, answers.Err())
		}
	}
	lines.Close()
	if answers.Scan() || answers.Err() != nil || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("it ends with %q, %v, trailers %v", answers.Text(), answers.Err(), resp.Trailer)
	}
}

// load asks a server by 200 connections at once, and wants all answers right.
func load(t *testing.T, url, version string) {
	const requests = 2000
	cmd := exec.CommandContext(deadline(t), "h2load", "-n", strconv.Itoa(requests), "-c", "200",
		"--no-tls-proto="+version, "--connect-to="+install.ingress, url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		fmt.Sprintf("%d succeeded, 0 failed, 0 errored, 0 timeout", requests),
		fmt.Sprintf("status codes: %d 2xx", requests),
		fmt.Sprintf("(%d) data", requests*len("HTTP/1.1\n")),
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("want %q:\n%s", want, out)
		}
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "finished in") || strings.HasPrefix(line, "time for request") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// forkInUse forks a VM in which somebody has a shell, a WebSocket, an event stream
// and half of a download. All go on.
func forkInUse(t *testing.T, c *client.Client, vm, url string) {
	u := newSSHUser(t)
	shell, say := u.shell(u.at(vm)), openWebSocket(t, url)
	mark := shell.ask("echo $$")
	say("before")
	events, ended := openEvents(t, url)
	<-events
	req, err := http.NewRequestWithContext(deadline(t), "GET", url+"/download", nil)
	if err != nil {
		t.Fatal(err)
	}
	download, err := ingressClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer download.Body.Close()
	records := bufio.NewScanner(download.Body)
	read := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if want := fmt.Sprintf("%015d", i/4096); !records.Scan() || records.Text() != want {
				t.Fatalf("record %d is %q, want %q: %v", i, records.Text(), want, records.Err())
			}
		}
	}
	const all = 512 * 4096
	read(0, all/8)

	child := fork(t, c, vm, 1)[0]
	last := 0
	for len(events) > 0 {
		last = <-events
	}
	say("after")
	if got := shell.ask("echo $$"); got != mark {
		t.Errorf("the shell was %s and is %s", mark, got)
	}
	read(all/8, all)
	select {
	case next := <-events:
		if next <= last {
			t.Errorf("event %d after %d", next, last)
		}
	case <-ended:
		t.Error("the event stream has ended")
	}
	if status, body := curl(t, ingressURL(child, 3000)+"/"); status != 200 || !strings.HasPrefix(body, "GET / for 3000-"+child) {
		t.Errorf("the child: %d %s", status, body)
	}
}

// visitPrivate visits a VM that is for those only who may use it.
func visitPrivate(t *testing.T, c *client.Client, vm, url string) {
	owner := person{t: t}
	id := owner.does("identity", "create")
	token := owner.does("identity", "token", id)
	owner.does("identity", "grant", id, vm)
	events, ended := openEvents(t, url)
	<-events
	owner.does("ingress", vm, "private")
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("who was let in before is still there")
	}
	if _, err := c.Suspend(deadline(t), vm); err != nil {
		t.Fatal(err)
	}
	if status, body := curl(t, url); status != 401 || !strings.Contains(body, `"code":"UNAUTHORIZED_ERROR"`) {
		t.Errorf("a program: %d %s", status, body)
	}
	if status, body := curl(t, url, "-H", "Accept: text/html"); status != 401 || !strings.Contains(body, "<form") {
		t.Errorf("a browser: %d %s", status, body)
	}
	if state := awaitState(t, c, vm, api.Suspended); state.Reason != "" {
		t.Errorf("it was woken: %q", state.Reason)
	}
	jar := filepath.Join(t.TempDir(), "cookies")
	if status, body := curl(t, url+"/.coppice/sign-in", "-c", jar, "-L", "--data-urlencode", "secret="+token, "-d", "to=/secrets"); status != 200 || body != "None None" {
		t.Errorf("signing in: %d %s", status, body)
	}
	by := map[string][]string{"header": {"-H", "Authorization: Bearer " + token}, "cookie": {"-b", jar}}
	for how, args := range by {
		if status, body := curl(t, url+"/secrets", args...); status != 200 || body != "None None" {
			t.Errorf("by %s: %d, and the program sees %s", how, status, body)
		}
	}
	owner.does("identity", "ungrant", id, vm)
	for how, args := range by {
		if status, body := curl(t, url+"/secrets", args...); status != 401 {
			t.Errorf("by %s, when the grant is revoked: %d %s", how, status, body)
		}
	}
	owner.does("ingress", vm, "public")
	if status, body := curl(t, url+"/secrets", "-b", jar); status != 200 || body != "None None" {
		t.Errorf("public: %d, and the program sees %s", status, body)
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
