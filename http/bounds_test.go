package http

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// soon is how long a test waits for what should come soon.
const soon = 20 * time.Second

// impatient returns a harness whose server puts up with next to nothing.
func impatient(t *testing.T) *harness {
	t.Helper()
	return newHarness(t, func(s *Server) {
		s.slowest = slowness{sending: 200 * time.Millisecond, taking: 200 * time.Millisecond}
	})
}

// dial connects to the server and sends it what no decent client would.
func (h *harness) dial(request string) net.Conn {
	h.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(soon))
	if _, err := io.WriteString(conn, request); err != nil {
		h.t.Fatal(err)
	}
	return conn
}

// lasts reports whether the answer of a route has no end of its own.
func lasts(rt route) bool {
	return slices.Contains([]string{"events", "watchFiles", "awaitVM", "streamStats"}, rt.id)
}

// raw sends bytes and returns the answer to the first request in them.
func (h *harness) raw(request string) answer {
	h.t.Helper()
	conn := h.dial(request)
	defer conn.Close()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		h.t.Errorf("%.200q is not answered: %v", request, err)
		return answer{}
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Errorf("the answer to %.200q broke off: %v", request, err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// Whoever promises a body and does not send it is let go, with or without a
// key, on every route that does not answer with a stream.
func TestBodiesThatDoNotCome(t *testing.T) {
	h := newHarness(t)
	h.server.slowest.sending = 50 * time.Millisecond
	h.people.identity(alice, "ungranted")
	for _, rt := range h.server.routes() {
		for _, key := range []string{"alice-key", "wrong"} {
			if key == "alice-key" && lasts(rt) {
				continue
			}
			vm := string(h.vms.add(coppice.VM{}))
			method, path := pathOf(rt, vm)
			conn := h.dial(method + " " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key +
				"\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s %s with the key %q: the connection is kept", method, rt.path, key)
			}
		}
	}
	for _, c := range []struct {
		path, kind string
		code       coppice.Code
	}{
		{"/v1/vms/%s/exec-await", "application/json", coppice.CodeInvalidRequest},
		{"/v1/vms/%s/files/x", "application/json", coppice.CodeFilesBadRequest},
		{"/v1/vms/%s/files/x", rawBytes, coppice.CodeFilesBadRequest},
	} {
		method := "POST"
		if strings.Contains(c.path, "files") {
			method = "PUT"
		}
		path := fmt.Sprintf(c.path, h.vms.add(coppice.VM{}))
		if a := h.raw(method + " " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice-key\r\nContent-Type: " + c.kind + "\r\nContent-Length: 10\r\n\r\n{"); a.status != 408 || a.code() != string(c.code) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

// Headers that do not come are not waited for either.
func TestHeadersThatDoNotCome(t *testing.T) {
	h := newHarness(t, func(s *Server) { s.http.ReadHeaderTimeout = 200 * time.Millisecond })
	conn := h.dial("GET /healthz HTTP/1.1\r\nHost: x\r\n")
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is kept")
	}
}

// A client that sends steadily is not hurried, nor is one whose guest takes its
// time, and streams live as long as anybody takes something of them.
func TestWhoIsSlowButSteady(t *testing.T) {
	h := impatient(t)
	vm := string(h.vms.add(coppice.VM{}))
	slow := h.server.slowest.sending / 4

	pieces, send := io.Pipe()
	go func() {
		piece := strings.Repeat("x", 1024) // earns a second
		for range 8 {
			if _, err := io.WriteString(send, piece); err != nil {
				return
			}
			time.Sleep(slow)
		}
		send.Close()
	}()
	req := h.ask(t.Context(), "PUT", "/v1/vms/"+vm+"/files/steady", "", []string{"Content-Type: " + rawBytes})
	req.Body = pieces
	resp, err := h.http.Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("a steady upload: %v, %v", resp, err)
	}
	resp.Body.Close()
	if info, err := fs.Stat(os.DirFS(h.dir), "steady"); err != nil || info.Size() != 8<<10 {
		t.Errorf("it became %v, %v", info, err)
	}

	// The connection serves the next request after an answer that is long past.
	events := h.dial("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	r := bufio.NewReader(events)
	for i := range 3 {
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("request %d of a connection: %v, %v", i, resp, err)
		}
		io.Copy(io.Discard, resp.Body)
		time.Sleep(2 * h.server.slowest.taking)
		io.WriteString(events, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	}

	// A stream that says nothing for long says something again.
	stream := bufio.NewReader(h.dial("GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice-key\r\n\r\n"))
	resp, err = http.ReadResponse(stream, nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("events: %v, %v", resp, err)
	}
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		h.vms.happen(coppice.Event{VM: coppice.VMID(vm), Verb: coppice.Stop, State: coppice.Stopped})
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "data: ") {
		}
		if lines.Err() != nil || lines.Text() == "" {
			t.Fatalf("event %d: %v", i, lines.Err())
		}
		time.Sleep(2 * h.server.slowest.taking)
	}
}

// A client that takes nothing of a long answer is not waited for.
func TestAnswersThatAreNotTaken(t *testing.T) {
	h := impatient(t)
	vm := string(h.vms.add(coppice.VM{}))
	if err := os.WriteFile(h.dir+"/large", make([]byte, 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	conn := h.dial("GET /v1/vms/" + vm + "/files/large HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice-key\r\n\r\n")
	for end := time.Now().Add(soon); !strings.Contains(h.log.String(), "/files/large"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the request goes on")
		}
	}
	if n, err := io.Copy(io.Discard, conn); n >= 64<<20 {
		t.Errorf("all of it came, %d bytes, %v", n, err)
	}
}

// An account that asks for too much waits, and nobody else does.
func TestRequestRate(t *testing.T) {
	h := newHarness(t)
	h.server.throttle.rate = 2
	refused := 0
	for range 3 * burst {
		a := h.do("GET", "/auth/v1/whoami", "")
		if a.status == 200 {
			continue
		}
		refused++
		var e struct{ Limit, Current int }
		if json.Unmarshal([]byte(a.body), &e) != nil || a.status != 429 || a.code() != "LIMIT_EXCEEDED" || e.Limit != 2*burst || a.header.Get("Retry-After") != "1" {
			t.Fatalf("%d %q %s", a.status, a.header.Get("Retry-After"), a.body)
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	for _, who := range []string{"Authorization: Bearer bob-key", "Authorization:"} {
		if a := h.do("GET", "/auth/v1/whoami", "", who); a.status == 429 {
			t.Errorf("%s is refused for what alice does", who)
		}
	}
	if a := h.do("GET", "/healthz", ""); a.status != 200 {
		t.Errorf("healthz: %d", a.status)
	}
	time.Sleep(time.Second) // what Retry-After said
	if who := into[api.WhoAmI](t, h.do("GET", "/auth/v1/whoami", "")); who.AccountID != string(alice) {
		t.Errorf("afterwards: %+v", who)
	}
}

// A client that is slow, but takes something all the time, is not cut off in the
// middle of a large answer: it has its time for every piece.
func TestTimeForEveryPiece(t *testing.T) {
	w := &slowly{ResponseRecorder: httptest.NewRecorder()}
	rec := &recorder{ResponseWriter: w, taking: time.Minute}
	body := make([]byte, 10*outputPiece+1)
	if n, err := rec.Write(body); n != len(body) || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	if w.Body.Len() != len(body) || w.deadlines != 11 || w.most > outputPiece {
		t.Errorf("%d bytes came, %d at most at a time, and there were %d deadlines", w.Body.Len(), w.most, w.deadlines)
	}
	w.full = true
	if n, err := rec.Write(body); n != 0 || err != io.ErrShortWrite || w.deadlines != 12 {
		t.Errorf("to one who takes no more: wrote %d, %v, after %d deadlines", n, err, w.deadlines)
	}
}

// slowly notes how it is written to.
type slowly struct {
	*httptest.ResponseRecorder
	deadlines, most int
	full            bool
}

func (s *slowly) SetWriteDeadline(time.Time) error {
	s.deadlines++
	return nil
}

func (s *slowly) Write(b []byte) (int, error) {
	if s.full {
		return 0, io.ErrShortWrite
	}
	s.most = max(s.most, len(b))
	return s.ResponseRecorder.Write(b)
}
