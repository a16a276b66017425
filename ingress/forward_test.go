package ingress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/coppice-vm/coppice"
)

func (h *harness) get(url string) (status int, body string) {
	h.t.Helper()
	resp, err := h.client.Get(url)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A VM's program sees the request as it was sent, and who sent it from where,
// whatever the client says of that.
func TestForwards(t *testing.T) {
	h := newHarness(t)
	var got *http.Request
	var body []byte
	_, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "short and stout")
	})
	req, _ := http.NewRequest("PATCH", url+"/a%2fb//c?q=%zz;1&&", strings.NewReader("body"))
	for name, value := range map[string]string{
		"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil", "X-Forwarded-Proto": "https", "Forwarded": "for=6.6.6.6",
		"Connection": "X-Hop", "X-Hop": "to here", "Keep-Alive": "1", "Proxy-Authorization": "secret", "Authorization": "Bearer theirs",
	} {
		req.Header.Set(name, value)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusTeapot || resp.Header.Get("X-Answer") != "yes" || string(answer) != "short and stout" || resp.Header.Get(headerError) != "" {
		t.Errorf("answered %s %v %q", resp.Status, resp.Header, answer)
	}
	host := strings.TrimPrefix(url, "http://")
	if got.Method != "PATCH" || got.RequestURI != "/a%2fb//c?q=%zz;1&&" || got.Host != host || string(body) != "body" {
		t.Errorf("got %s %s of %s with %q", got.Method, got.RequestURI, got.Host, body)
	}
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": host, "X-Forwarded-Proto": "http", "Forwarded": "",
		"X-Hop": "", "Keep-Alive": "", "Proxy-Authorization": "", "Authorization": "Bearer theirs", "Accept-Encoding": "gzip", // the test's client's
	} {
		if got := got.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// h2c returns a client that speaks HTTP/2 from the start, without TLS.
func (h *harness) h2c() *http.Client {
	tr := h.transport()
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetUnencryptedHTTP2(true)
	h.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

// By HTTP/2 a VM is reached as by HTTP/1.1, which it is spoken to by.
func TestHTTP2(t *testing.T) {
	h := newHarness(t)
	_, url := h.serve(80, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, r.Proto, " ", string(body))
	})
	resp, err := h.h2c().Post(url, "text/plain", strings.NewReader("hi"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.ProtoMajor != 2 || string(body) != "HTTP/1.1 hi" {
		t.Errorf("%s %s %q", resp.Proto, resp.Status, body)
	}
}

// A gRPC call is HTTP/2 all the way, both ways at once, with trailers.
func TestGRPC(t *testing.T) {
	h := newHarness(t)
	id, url := h.serve(50051, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
			t.Errorf("%s, te %q", r.Proto, r.Header.Get("Te"))
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		echoLines(w, r)
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "unannounced")
	})
	resp := converse(t, h.h2c(), url, "application/grpc+proto", func() {
		h.vms.await(t, "uses", h.vms.uses, id, func(n int) bool { return n == 0 }) // a stream is in use when something moves
	})
	if resp.ProtoMajor != 2 || resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Grpc-Message") != "unannounced" {
		t.Errorf("%s, trailers %v", resp.Proto, resp.Trailer)
	}
}

// Request and answer go on at the same time by HTTP/1.1 too.
func TestBothWaysAtOnce(t *testing.T) {
	h := newHarness(t)
	_, url := h.serve(3000, echoLines)
	converse(t, h.client, url, "text/plain", func() {})
}

// echoLines answers every line of a request as it comes.
func echoLines(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	if r.ProtoMajor == 1 {
		control.EnableFullDuplex()
	}
	control.Flush()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); control.Flush() {
		fmt.Fprintln(w, lines.Text())
	}
}

// converse sends lines one after the other, each when the last has come back.
func converse(t *testing.T, client *http.Client, url, contentType string, begun func()) *http.Response {
	t.Helper()
	body, lines := io.Pipe()
	req, _ := http.NewRequest("POST", url, body)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Te", "trailers")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	begun()
	answers := bufio.NewScanner(resp.Body)
	for i := range 3 {
		line := fmt.Sprint("line ", i)
		fmt.Fprintln(lines, line)
		if !answers.Scan() || answers.Text() != line {
			t.Fatalf("%q came back as %q: %v", line, answers.Text(), answers.Err())
		}
	}
	lines.Close()
	if answers.Scan() {
		t.Errorf("%q came by itself", answers.Text())
	}
	return resp
}

// Each event is passed on before there is another; the stream alone does not
// keep the VM in use, its events do.
func TestEventStream(t *testing.T) {
	h := newHarness(t)
	events := make(chan string)
	id, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for e := range events {
			fmt.Fprintf(w, "data: %s\n\n", e)
			w.(http.Flusher).Flush()
		}
	})
	resp, err := h.client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h.vms.await(t, "uses", h.vms.uses, id, func(n int) bool { return n == 0 })
	lines := bufio.NewScanner(resp.Body)
	for _, e := range []string{"one", "two"} {
		events <- e
		if !lines.Scan() || lines.Text() != "data: "+e {
			t.Fatalf("got %q, want %s: %v", lines.Text(), e, lines.Err())
		}
		lines.Scan()
	}
	close(events)
	h.vms.await(t, "touched", h.vms.touched, id, func(n int) bool { return n > 0 })
}

// A request keeps the VM in use until all of its answer is there.
func TestInUse(t *testing.T) {
	h := newHarness(t)
	arrived, answer, finish := make(chan struct{}), make(chan struct{}), make(chan struct{})
	id, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-answer
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "1")
		w.(http.Flusher).Flush()
		<-finish
		io.WriteString(w, "2")
	})
	inUse := func(when string) {
		t.Helper()
		h.vms.mu.Lock()
		defer h.vms.mu.Unlock()
		if n := h.vms.uses[id]; n != 1 {
			t.Errorf("%s: in use %d times, want once", when, n)
		}
	}
	begun := make(chan *http.Response, 1)
	go func() {
		resp, err := h.client.Get(url)
		if err != nil {
			t.Error(err)
		}
		begun <- resp
	}()
	<-arrived
	inUse("unanswered")
	close(answer)
	resp := <-begun
	if resp == nil {
		return
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	inUse("half answered")
	close(finish)
	if rest, err := io.ReadAll(resp.Body); string(rest) != "2" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	h.vms.await(t, "uses", h.vms.uses, id, func(n int) bool { return n == 0 })
}

func TestWebSocket(t *testing.T) {
	h := newHarness(t)
	id, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}})
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		for {
			kind, msg, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			conn.Write(r.Context(), kind, msg)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, url+"/chat", &websocket.DialOptions{HTTPClient: h.client, Subprotocols: []string{"echo"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if conn.Subprotocol() != "echo" {
		t.Errorf("subprotocol %q", conn.Subprotocol())
	}
	h.vms.await(t, "uses", h.vms.uses, id, func(n int) bool { return n == 0 })
	for _, msg := range []string{"hello", strings.Repeat("long ", 5000)} {
		if err := conn.Write(ctx, websocket.MessageText, []byte(msg)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(ctx); err != nil || string(got) != msg {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
	}
	h.vms.await(t, "touched", h.vms.touched, id, func(n int) bool { return n > 0 })
	conn.Close(websocket.StatusNormalClosure, "")
}

// Any other upgrade is passed on too, and can be closed one way.
func TestUpgrade(t *testing.T) {
	h := newHarness(t)
	_, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		all, _ := io.ReadAll(buffered) // to the end of what the client sends
		conn.Write(bytes.ToUpper(all))
	})
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n", strings.TrimPrefix(url, "http://"))
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v, %v", resp, err)
	}
	fmt.Fprint(conn, "hello")
	conn.(*net.TCPConn).CloseWrite()
	if answer, err := io.ReadAll(in); err != nil || string(answer) != "HELLO" {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestLargeBodies(t *testing.T) {
	h := newHarness(t)
	_, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	})
	const size = 64 << 20
	sent, received := sha256.New(), sha256.New()
	source := rand.NewChaCha8([32]byte{})
	resp, err := h.client.Post(url, "application/octet-stream", io.TeeReader(io.LimitReader(source, size), sent))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(received, resp.Body); n != size || err != nil || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		t.Errorf("%d bytes came back: %v", n, err)
	}
}

// Requests wait for a VM to wake, until it does or the client has enough of it.
func TestWakes(t *testing.T) {
	h := newHarness(t)
	id, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "awake") })
	h.vms.waking = make(chan struct{})
	h.vms.set(id, coppice.Suspended)

	impatient, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(impatient, "GET", url, nil)
	if resp, err := h.client.Do(req); err == nil {
		t.Errorf("answered %s before it was awake", resp.Status)
	}
	h.vms.set(id, coppice.Suspended)
	answer := make(chan string)
	go func() {
		status, body := h.get(url)
		answer <- fmt.Sprint(status, " ", body)
	}()
	h.vms.waking <- struct{}{}
	if got := <-answer; got != "200 awake" || h.vms.wakes != 1 {
		t.Errorf("answered %q after %d wakes", got, h.vms.wakes)
	}
}

// A VM that does not answer is not waited for when the client has left.
func TestDialEndsWithItsClient(t *testing.T) {
	h := newHarness(t)
	id := h.vms.set("", coppice.Running)
	h.vms.listenOn(id, "network", 80, silence)
	h.vms.listen(id, 80, silence)
	for name, client := range map[string]*http.Client{"text/plain": h.client, "application/grpc": h.h2c()} {
		ctx, leave := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "POST", h.url(id, 80), nil)
		req.Header.Set("Content-Type", name)
		left := make(chan error)
		go func() {
			resp, err := client.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			left <- err
		}()
		h.vms.await(t, "silent", h.vms.silent, id, func(n int) bool { return n == 2 })
		leave()
		gone := time.Now()
		h.vms.await(t, "silent", h.vms.silent, id, func(n int) bool { return n == 0 })
		if waited := time.Since(gone); waited > dialTimeout/2 {
			t.Errorf("%s: it was waited for for %v more", name, waited)
		}
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A connection is used again for the run that it was made to, and for no other.
func TestConnectionsBelongToARun(t *testing.T) {
	h := newHarness(t)
	id, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
	_, first := h.get(url)
	if _, again := h.get(url); again != first {
		t.Errorf("the second request came by another connection")
	}
	for _, state := range []coppice.State{coppice.Suspended, coppice.Running} { // it wakes; it is replaced
		h.vms.set(id, state)
		if _, now := h.get(url); now == first {
			t.Error("another run got a connection to the one before")
		}
	}
	if h.vms.dialled != 3 {
		t.Errorf("dialled %d times", h.vms.dialled)
	}
	// A request that was on its way to a run when another took its place.
	ctx := context.WithValue(t.Context(), passageKey{}, &passage{ctx: t.Context()})
	if _, err := h.server.dial(ctx, "tcp", upstream{id, coppice.NewInstanceID(), 3000}.String()); err == nil {
		t.Error("connected to a run that is over")
	}
}

// What may have been done already is not done again.
func TestNoUnsafeRetry(t *testing.T) {
	h := newHarness(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	posts := make(chan string, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // answers one request; at the second it closes
				defer conn.Close()
				in := bufio.NewReader(conn)
				for range 2 {
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					if req.Method == "POST" {
						posts <- req.URL.Path
						return
					}
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			}()
		}
	}()
	id := h.vms.set("", coppice.Running)
	h.vms.listen(id, 80, l.Addr().String())
	h.get(h.url(id, 80))
	resp, err := h.client.Post(h.url(id, 80)+"/pay", "text/plain", strings.NewReader("100"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway || len(posts) != 1 {
		t.Errorf("answered %s after %d payments", resp.Status, len(posts))
	}
}

func TestTwoHundredAtOnce(t *testing.T) {
	h := newHarness(t)
	const n = 200
	var all sync.WaitGroup
	all.Add(n)
	_, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) {
		all.Done()
		all.Wait() // all are here, or nobody is answered
		io.Copy(w, r.Body)
	})
	var clients sync.WaitGroup
	for i := range n {
		clients.Go(func() {
			want := fmt.Sprint("client ", i)
			resp, err := h.client.Post(url, "text/plain", strings.NewReader(want))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); string(got) != want || err != nil {
				t.Errorf("%q got %q, %v", want, got, err)
			}
		})
	}
	clients.Wait()
}

// A name that was mapped leads where it was mapped to, in any case.
func TestMappedName(t *testing.T) {
	h := newHarness(t)
	id, _ := h.serve(3000, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) })
	h.mapName("App.Example.com.", id, 3000)
	directory := h.server.config.Directory
	for _, name := range []string{"app.example.com", "APP.example.com.", "app.example.com:8080"} {
		if status, body := h.get("http://" + name); status != 200 || body != name {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if _, err := directory.Map(t.Context(), "alice", "app.example.com", id, 3001); err != nil {
		t.Fatal(err)
	}
	if status, body := h.get("http://app.example.com"); status != 502 || !strings.Contains(body, "port 3001") {
		t.Errorf("mapped elsewhere: %d %s", status, body)
	}
	if err := directory.Unmap(t.Context(), "alice", "app.example.com"); err != nil {
		t.Fatal(err)
	}
	if status, body := h.get("http://app.example.com"); status != 404 {
		t.Errorf("unmapped: %d %s", status, body)
	}
}

// What listens on a VM's network is reached by that, not by way of the guest.
func TestByNetwork(t *testing.T) {
	h := newHarness(t)
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "outside") }))
	defer outside.Close()
	id, url := h.serve(3000, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "inside") })
	h.vms.listenOn(id, "network", 80, outside.Listener.Addr().String())
	h.vms.listen(id, 80, "127.0.0.1:1") // nobody is there
	if status, body := h.get(h.url(id, 80)); status != 200 || body != "outside" {
		t.Errorf("by the network: %d %s", status, body)
	}
	if status, body := h.get(url); status != 200 || body != "inside" {
		t.Errorf("on the loopback: %d %s", status, body)
	}
	h.vms.set(id, coppice.Running) // another run, so that no connection is there
	h.vms.listenOn(id, "network", 3000, silence)
	if status, body := h.get(url); status != 200 || body != "inside" {
		t.Errorf("with no answer by the network: %d %s", status, body)
	}
}
