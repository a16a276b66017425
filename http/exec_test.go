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
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// What the guest's kernel cannot start was asked for wrongly.
func TestExecOfWhatCannotStart(t *testing.T) {
	h := newHarness(t)
	id := string(h.vms.add(coppice.VM{}))
	_, err := h.client().ExecAwait(t.Context(), id, coppice.ExecSpec{Command: ": " + strings.Repeat("x", 200<<10)})
	if coppice.CodeOf(err) != coppice.CodeInvalidRequest || !strings.Contains(err.Error(), "could not start the command") {
		t.Errorf("a command that is too long: %v", err)
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
func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// eventually waits for a fact that nothing announces.
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
				s := newServer(t, vms, newPeople(), io.Discard)
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

// A client that is not ours: it says nothing, nonsense, or all at once, and
// acknowledges nothing.
