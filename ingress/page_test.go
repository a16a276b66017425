package ingress

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

// What goes wrong is told, to programs in JSON and to browsers as a page.
func TestProblems(t *testing.T) {
	h := newHarness(t)
	running, _ := h.serve(80, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	notHTTP, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer notHTTP.Close()
	go func() {
		for conn, err := notHTTP.Accept(); err == nil; conn, err = notHTTP.Accept() {
			io.WriteString(conn, "220 mail ready\r\n")
			conn.Close()
		}
	}()
	h.vms.listen(running, 25, notHTTP.Addr().String())
	broken := h.vms.set("", coppice.Suspended)
	h.vms.wakeFail = coppice.Errorf(coppice.CodeSpawnProcess, "the VM's process could not be started").Because(errors.New("secret"))

	for _, c := range []struct {
		url    string
		status int
		code   coppice.Code
		says   string
	}{
		{"http://elsewhere.example", 404, coppice.CodeNotFound, "<port>-<id of the VM>.vm.localhost"},
		{"http://3000-hello.vm.localhost", 404, coppice.CodeNotFound, "no VM is called"},
		{h.url(coppice.NewVMID(), 80), 404, coppice.CodeVMNotFound, "there is no VM"},
		{h.url(h.vms.set("", coppice.Absent), 80), 410, coppice.CodeVMDeleted, "has been deleted"},
		{h.url(h.vms.set("", coppice.Stopped), 80), 503, coppice.CodeVMNotRunning, "stopped: start it first"},
		{h.url(h.vms.set("", coppice.Failed), 80), 503, coppice.CodeVMNotRunning, "failed"},
		{h.url(running, 81), 502, coppice.CodeUnavailable, "nothing listens on port 81"},
		{h.url(running, 80), 502, coppice.CodeUnavailable, "broke the connection"},
		{h.url(running, 25), 502, coppice.CodeUnavailable, "does not speak HTTP"},
		{h.url(broken, 80), 503, coppice.CodeSpawnProcess, "could not be started"},
	} {
		for accept, kind := range map[string]string{"*/*": "application/json", "text/html,application/xhtml+xml;q=0.9": "text/html; charset=utf-8"} {
			req, _ := http.NewRequest("GET", c.url, nil)
			req.Header.Set("Accept", accept)
			resp, err := h.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != kind || resp.Header.Get(headerError) != string(c.code) {
				t.Errorf("%s: %s %v", c.url, resp.Status, resp.Header)
			}
			text := string(body)
			if kind == "application/json" {
				var e struct{ Code, Message string }
				if err := json.Unmarshal(body, &e); err != nil || e.Code != string(c.code) {
					t.Errorf("%s: %s: %v", c.url, body, err)
				}
				text = e.Message
			}
			text = strings.NewReplacer("&lt;", "<", "&gt;", ">").Replace(text)
			if !strings.Contains(text, c.says) || strings.Contains(text, "secret") {
				t.Errorf("%s says %q, want %q", c.url, text, c.says)
			}
		}
	}
}

// A name in a request is text on the page, whatever it is.
func TestPageIsEscaped(t *testing.T) {
	h := newHarness(t)
	req, _ := http.NewRequest("GET", "http://x", nil)
	req.Host = "<script>alert(1)<"
	req.Header.Set("Accept", "text/html")
	w := &recorder{header: http.Header{}}
	h.server.ServeHTTP(w, req)
	if !strings.Contains(w.body.String(), "&lt;script&gt;") || strings.Contains(w.body.String(), "<script>") {
		t.Error(w.body.String())
	}
}

type recorder struct {
	header http.Header
	body   strings.Builder
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorder) WriteHeader(int)             {}

// A VM has so many requests in flight and no more; another has its own.
func TestManyInFlight(t *testing.T) {
	h := newHarness(t)
	id, url := h.serve(80, func(http.ResponseWriter, *http.Request) {})
	_, other := h.serve(80, func(http.ResponseWriter, *http.Request) {})
	for range maxPerVM {
		p := &passage{to: upstream{vm: id}}
		if !h.server.enter(p) {
			t.Fatal("refused too early")
		}
		defer h.server.exit(p)
	}
	if status, body := h.get(url); status != 503 || !strings.Contains(body, "in flight") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := h.get(other); status != 200 {
		t.Errorf("the other VM: %d %s", status, body)
	}
}

// Who sends a header without end, or too slowly, is not waited for.
func TestHeaderLimits(t *testing.T) {
	h := newHarness(t)
	_, url := h.serve(80, func(http.ResponseWriter, *http.Request) {})
	req, _ := http.NewRequest("GET", url, nil)
	req.Header.Set("Cookie", strings.Repeat("x", 2*maxHeaderBytes))
	resp, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a large header: %s", resp.Status)
	}

	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nX-Slow: ", url)
	began := time.Now()
	conn.SetReadDeadline(began.Add(time.Minute))
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF || n != 0 {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if took := time.Since(began); took < headerTimeout/2 {
		t.Errorf("cut off after %v", took)
	}
}

// A daemon that leaves answers what it has been asked, and does not wait for
// streams to end.
func TestShutdown(t *testing.T) {
	h := newHarness(t)
	arrived, finish := make(chan struct{}), make(chan struct{})
	_, slow := h.serve(80, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-finish
		fmt.Fprint(w, "done")
	})
	_, stream := h.serve(80, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	events, err := h.client.Get(stream)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	lines := bufio.NewReader(events.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	answer := make(chan string)
	go func() {
		_, body := h.get(slow)
		answer <- body
	}()
	<-arrived
	ended := make(chan error)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() { ended <- h.server.Shutdown(ctx) }()
	if _, err := io.Copy(io.Discard, lines); err == nil {
		t.Error("a stream that was cut off looks complete")
	}
	select {
	case err := <-ended:
		t.Fatalf("it has left with a request unanswered: %v", err)
	default:
	}
	close(finish)
	if got := <-answer; got != "done" {
		t.Errorf("answered %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
