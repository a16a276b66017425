package http

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

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

	// A command that reads nothing, or little, ends although its stdin does not.
	for _, command := range []string{"exit 9", "head -c 100000 >&2; exit 9"} {
		for range 50 {
			status, err = c.Exec(ctx, id, coppice.ExecSpec{Command: command}, coppice.Stdio{Stdin: zeros{}})
			if err != nil || status.Code != 9 {
				t.Fatalf("%s: %+v %v", command, status, err)
			}
		}
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
		{id, coppice.ExecSpec{Command: "id", Dir: "/not/there"}, coppice.CodeInvalidRequest},
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
