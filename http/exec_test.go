package http

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

func TestExecAwait(t *testing.T) {
	h := newHarness(t)
	path := "/v1/vms/" + string(h.vms.add(coppice.VM{})) + "/exec-await"
	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{`{"command":"echo hi; echo no >&2; exit 3","terminal":null,"timeoutMs":null}`, 200, `{"statusCode":3,"stdout":"hi\n","stderr":"no\n"}`},
		{`{"command":"kill -9 $$"}`, 200, `{"statusCode":137,"stdout":"","stderr":""}`},
		{`{"command":"printf 'a\\377b'"}`, 200, `{"statusCode":0,"stdout":"a\ufffdb","stdoutBase64":"Yf9i","stderr":""}`},
		{`{"command":"echo '<a href=\"x\">&'","unknown":[1]}`, 200, `{"statusCode":0,"stdout":"<a href=\"x\">&\n","stderr":""}`},
		{`{"command":"cat"}`, 200, `{"statusCode":0,"stdout":"","stderr":""}`},
		{`{"command":""}`, 400, "EXEC_EMPTY"},
		{`{"command":" \n"}`, 400, "EXEC_EMPTY"},
		{`{"command":null}`, 400, "EXEC_EMPTY"},
		{`{}`, 400, "EXEC_EMPTY"},
		{"", 400, "EXEC_EMPTY"},
		{`{"command":"true","terminal":"t1"}`, 400, "INVALID_REQUEST"},
		{`{"command":"true","timeoutMs":0}`, 400, "INVALID_REQUEST"},
		{`{"command":"true","timeoutMs":-1}`, 400, "INVALID_REQUEST"},
		{`{"command":"true","timeoutMs":1e20}`, 400, "INVALID_REQUEST"},
	} {
		a := h.do("POST", path, c.body)
		if a.status != c.status || c.status == 200 && strings.TrimSpace(a.body) != c.want || c.status != 200 && a.code() != c.want {
			t.Errorf("%s: %d %s", c.body, a.status, a.body)
		}
	}
	if a := h.do("POST", path, `{"command":"echo $USER"}`, api.HeaderLinuxUser+": bob"); !strings.Contains(a.body, `"bob\n"`) {
		t.Errorf("as bob: %s", a.body)
	}
	if a := h.do("POST", path, `{"command":"id"}`, api.HeaderLinuxUser+": eve"); a.status != 404 || a.code() != "USER_NOT_FOUND" {
		t.Errorf("as eve: %d %s", a.status, a.body)
	}
}

func TestExecTimeout(t *testing.T) {
	h := newHarness(t)
	c := h.client()
	id := string(h.vms.add(coppice.VM{}))
	_, err := c.ExecAwait(t.Context(), id, coppice.ExecSpec{Command: "echo so far; printf '\\377' >&2; sleep 1000", Timeout: 300 * time.Millisecond})
	e, ok := errors.AsType[*coppice.Error](err)
	if !ok || e.Code != coppice.CodeExecTimedOut {
		t.Fatal(err)
	}
	for field, want := range map[string]any{"timeoutMs": 300.0, "stdout": "so far\n", "stderr": "\ufffd", "stderrBase64": "/w=="} {
		if e.Fields[field] != want {
			t.Errorf("%s is %v, not %v", field, e.Fields[field], want)
		}
	}
}

// Of more output than is kept, the start is there, and it says that it is not all.
func TestExecOutputIsCapped(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	// The cap cuts an "é" in half, which is not the command's doing.
	res, err := h.client().ExecAwait(t.Context(), id, coppice.ExecSpec{Command: "printf x; yes ééééééé | head -c 20000000; echo end >&2"})
	if err != nil {
		t.Fatal(err)
	}
	if !res.StdoutTruncated || res.StderrTruncated || res.Stderr != "end\n" || res.StatusCode != 0 {
		t.Errorf("truncated %v %v, stderr %q", res.StdoutTruncated, res.StderrTruncated, res.Stderr)
	}
	if n := len(res.Stdout); n > outputLimit || n < outputLimit-4 || strings.Contains(res.Stdout, "\ufffd") || res.StdoutBase64 != nil {
		t.Errorf("%d bytes, base64 %d", n, len(res.StdoutBase64))
	}
	if !strings.HasPrefix(res.Stdout, "xééééééé\néé") {
		t.Errorf("begins with %.20q", res.Stdout)
	}
}

// What a command wrote comes through, whatever it was, however it is cut into pieces.
func TestOutputJSON(t *testing.T) {
	for _, text := range []string{
		"", "plain", "\x00\x1f\"\\\u2028<&>", strings.Repeat("é", 40000), strings.Repeat("x🙂", 20000),
		"\xff", strings.Repeat("\xf0\x9f", 20000), strings.Repeat("ab\x80", 30000), "end \xf0\x9f\x99",
	} {
		var out output
		out.stdout.Write([]byte(text))
		var buf bytes.Buffer
		if err := out.writeJSON(&buf, statusMembers{StatusCode: 1}); err != nil {
			t.Fatal(err)
		}
		var res api.ExecResult
		if err := json.Unmarshal(buf.Bytes(), &res); err != nil {
			t.Fatalf("%.20q: %v", text, err)
		}
		if want := strings.ToValidUTF8(text, ""); want == text && (res.Stdout != text || res.StdoutBase64 != nil) {
			t.Errorf("%.20q became %.20q", text, res.Stdout)
		} else if want != text && (string(res.StdoutBase64) != text || !strings.Contains(res.Stdout, "\ufffd")) {
			t.Errorf("%.20q became %.20q and %.20q", text, res.Stdout, res.StdoutBase64)
		}
	}
}

// A client that leaves takes its command with it.
func TestExecDiesWithItsClient(t *testing.T) {
	for name, run := range map[string]func(h *harness, ctx context.Context, id, command string) error{
		"await": func(h *harness, ctx context.Context, id, command string) error {
			_, err := h.client().ExecAwait(ctx, id, coppice.ExecSpec{Command: command})
			return err
		},
		"stream": func(h *harness, ctx context.Context, id, command string) error {
			_, err := h.client().Exec(ctx, id, coppice.ExecSpec{Command: command}, coppice.Stdio{})
			return err
		},
		"stream with stdin that nobody reads": func(h *harness, ctx context.Context, id, command string) error {
			_, err := h.client().Exec(ctx, id, coppice.ExecSpec{Command: command}, coppice.Stdio{Stdin: zeros{}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			id := string(h.vms.add(coppice.VM{}))
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- run(h, ctx, id, "echo $$ > pid; mv pid started; sleep 1000") }()
			pid := eventually(t, func() (string, bool) {
				b, err := os.ReadFile(filepath.Join(h.dir, "started"))
				return strings.TrimSpace(string(b)), err == nil
			})
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the client says %v", err)
			}
			eventually(t, func() (string, bool) {
				_, err := os.Stat("/proc/" + pid)
				return "", err != nil
			})
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// eventually waits for a fact that nothing announces.
func eventually(t *testing.T, fact func() (string, bool)) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if s, ok := fact(); ok {
			return s
		}
	}
	t.Fatal("it did not happen")
	return ""
}

// slowGuest runs commands that take as long as they say.
type slowGuest struct {
	fakeGuest
	takes time.Duration
	err   error
}

func (g *slowGuest) Exec(ctx context.Context, spec coppice.ExecSpec, stdio coppice.Stdio) (coppice.ExecStatus, error) {
	fmt.Fprint(stdio.Stdout, "out")
	took := time.NewTimer(g.takes)
	defer took.Stop()
	select {
	case <-took.C:
		return coppice.ExecStatus{Code: 7}, g.err
	case <-time.After(cmp.Or(spec.Timeout, 1000*time.Hour)):
		return coppice.ExecStatus{Code: 124, TimedOut: true}, nil
	case <-ctx.Done():
		return coppice.ExecStatus{}, ctx.Err()
	}
}

// A client that would give up after five minutes is kept waiting for longer
// commands by an early 200 and blank lines.
func TestPatience(t *testing.T) {
	for _, c := range []struct {
		name   string
		takes  time.Duration
		body   string
		err    error
		status int
		lines  int // blank
		want   string
		broken bool
	}{
		{"soon", 239 * time.Second, `{"command":"x"}`, nil, 200, 0, `{"statusCode":7,"stdout":"out","stderr":""}`, false},
		{"late", 399 * time.Second, `{"command":"x"}`, nil, 200, 8, `{"statusCode":7,"stdout":"out","stderr":""}`, false},
		{"timeout soon", time.Hour, `{"command":"x","timeoutMs":100000}`, nil, 408, 0,
			`{"code":"EXEC_TIMED_OUT","error":"EXEC_TIMED_OUT","message":"the command did not end within 1m40s and was killed","timeoutMs":100000,"stdout":"out","stderr":""}`, false},
		{"timeout late", time.Hour, `{"command":"x","timeoutMs":250000}`, nil, 200, 1,
			`{"statusCode":124,"code":"EXEC_TIMED_OUT","stdout":"out","stderr":""}`, false},
		{"failure soon", time.Second, `{"command":"x"}`, coppice.ErrGuestGone, 503, 0, "", false},
		{"failure late", 300 * time.Second, `{"command":"x"}`, coppice.ErrGuestGone, 200, 4, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				vms := newFakeVMs("")
				vms.guest = &slowGuest{takes: c.takes, err: c.err}
				id := vms.add(coppice.VM{})
				s := newServer(t, vms, io.Discard)
				r := httptest.NewRequest("POST", "/v1/vms/"+string(id)+"/exec-await", strings.NewReader(c.body))
				r.Header.Set("Authorization", "Bearer alice-key")
				w := httptest.NewRecorder()
				broken := false
				func() {
					defer func() {
						if p := recover(); p != nil {
							broken = p == http.ErrAbortHandler
						}
					}()
					s.ServeHTTP(w, r)
				}()
				body := w.Body.String()
				text := strings.TrimLeft(body, "\n")
				if lines := len(body) - len(text); w.Code != c.status || lines != c.lines || broken != c.broken {
					t.Errorf("status %d, %d blank lines, broken off %v", w.Code, lines, broken)
				}
				if c.want != "" && strings.TrimSpace(text) != c.want {
					t.Errorf("%s", text)
				}
				if w.Header().Get("Content-Type") != "application/json" {
					t.Errorf("%v", w.Header())
				}
			})
		})
	}
}

func TestExecStream(t *testing.T) {
	h := newHarness(t)
	c, ctx := h.client(), t.Context()
	id := string(h.vms.add(coppice.VM{}))

	var stdout, stderr bytes.Buffer
	status, err := c.Exec(ctx, id, coppice.ExecSpec{Command: `printf 'a\377'; echo "$GREETING" >&2; exit 5`, Env: []string{"GREETING=hi there"}},
		coppice.Stdio{Stdout: &stdout, Stderr: &stderr})
	if err != nil || status.Code != 5 || status.TimedOut || stdout.String() != "a\xff" || stderr.String() != "hi there\n" {
		t.Errorf("%+v %v %q %q", status, err, &stdout, &stderr)
	}

	stdout.Reset()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB, more than any window
	status, err = c.Exec(ctx, id, coppice.ExecSpec{Command: "cat"}, coppice.Stdio{Stdin: bytes.NewReader(big), Stdout: &stdout})
	if err != nil || status.Code != 0 || !bytes.Equal(stdout.Bytes(), big) {
		t.Errorf("%+v %v, %d bytes came back", status, err, stdout.Len())
	}

	// A command that reads nothing ends although its stdin does not.
	status, err = c.Exec(ctx, id, coppice.ExecSpec{Command: "exit 9"}, coppice.Stdio{Stdin: zeros{}})
	if err != nil || status.Code != 9 {
		t.Errorf("%+v %v", status, err)
	}

	status, err = c.Exec(ctx, id, coppice.ExecSpec{Command: "sleep 1000", Timeout: 200 * time.Millisecond}, coppice.Stdio{})
	if err != nil || status != (coppice.ExecStatus{Code: 124, TimedOut: true}) {
		t.Errorf("%+v %v", status, err)
	}

	full := errors.New("disk full")
	_, err = c.Exec(ctx, id, coppice.ExecSpec{Command: "yes"}, coppice.Stdio{Stdout: writerFunc(func([]byte) (int, error) { return 0, full })})
	if !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}

	for _, c2 := range []struct {
		id   string
		spec coppice.ExecSpec
		code coppice.Code
	}{
		{id, coppice.ExecSpec{Command: " "}, coppice.CodeExecEmpty},
		{id, coppice.ExecSpec{Command: "id", User: "eve"}, coppice.CodeUserNotFound},
		{id, coppice.ExecSpec{Command: "id", Env: []string{"=x"}}, coppice.CodeInvalidRequest},
		{string(coppice.NewVMID()), coppice.ExecSpec{Command: "id"}, coppice.CodeVMNotFound},
		{"nope", coppice.ExecSpec{Command: "id"}, coppice.CodeInvalidVMID},
	} {
		if _, err := c.Exec(ctx, c2.id, c2.spec, coppice.Stdio{}); coppice.CodeOf(err) != c2.code {
			t.Errorf("%s %+v: %v", c2.id, c2.spec, err)
		}
	}
	if a := h.do("GET", "/v1/vms/"+id+"/exec", ""); a.status != http.StatusUpgradeRequired || a.code() != "INVALID_REQUEST" {
		t.Errorf("without an upgrade: %d %s", a.status, a.body)
	}
}

// A client that is not ours: it says nothing, nonsense, or all at once, and
// acknowledges nothing.
func TestExecStreamByHand(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	ctx := t.Context()
	dial := func() *websocket.Conn {
		conn, _, err := websocket.Dial(ctx, h.url+"/v1/vms/"+id+"/exec", &websocket.DialOptions{
			HTTPHeader: http.Header{"Authorization": {"Bearer alice-key"}, api.HeaderLinuxUser: {"bob"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.CloseNow() })
		return conn
	}
	type message struct {
		Type     string
		Code     any
		Message  string
		TimedOut bool
		Bytes    int
	}
	// last reads to the end, and returns the output and the last text.
	last := func(conn *websocket.Conn) (out string, m message) {
		for {
			kind, b, err := conn.Read(ctx)
			switch {
			case websocket.CloseStatus(err) == websocket.StatusNormalClosure:
				return out, m
			case err != nil:
				t.Fatal(err)
			case kind == websocket.MessageBinary:
				out += string(b)
			default:
				m = message{}
				if err := json.Unmarshal(b, &m); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, first := range []string{"", "{", `["x"]`, `{"command":5}`, `{"command":"id","timeoutMs":-5}`} {
		conn := dial()
		if err := conn.Write(ctx, websocket.MessageText, []byte(first)); err != nil {
			t.Fatal(err)
		}
		if _, m := last(conn); m.Type != "error" || m.Code != "INVALID_REQUEST" {
			t.Errorf("%q: %+v", first, m)
		}
	}
	for _, wrong := range []struct {
		kind websocket.MessageType
		msg  string
	}{{websocket.MessageText, "{"}, {websocket.MessageBinary, "\x01x"}, {websocket.MessageBinary, ""}} {
		conn := dial()
		wsjson.Write(ctx, conn, api.ExecStart{Command: "sleep 1000"})
		conn.Write(ctx, wrong.kind, []byte(wrong.msg))
		if _, m := last(conn); m.Type != "error" || m.Code != "INVALID_REQUEST" {
			t.Errorf("%q: %+v", wrong.msg, m)
		}
	}

	conn := dial()
	wsjson.Write(ctx, conn, map[string]any{"command": "echo $USER; wc -c", "new": "member"})
	wsjson.Write(ctx, conn, api.ExecMessage{Type: "somethingNew"})
	go func() {
		piece := make([]byte, 1+64<<10)
		for range 32 { // 2 MiB, far beyond the window, without waiting
			if conn.Write(ctx, websocket.MessageBinary, piece) != nil {
				return
			}
		}
		wsjson.Write(ctx, conn, api.ExecMessage{Type: api.TypeStdinClose})
	}()
	if out, m := last(conn); strings.ReplaceAll(out, "\x01", "") != "bob\n2097152\n" || m.Type != "exit" || m.Code != 0.0 {
		t.Errorf("%q %+v", out, m)
	}

	conn = dial()
	wsjson.Write(ctx, conn, api.ExecStart{Command: "echo $USER", User: "root"})
	if out, _ := last(conn); out != "\x01root\n" {
		t.Errorf("the message's user: %q", out)
	}
}
