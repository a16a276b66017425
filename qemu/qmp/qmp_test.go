package qmp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coppice-vm/coppice/qemu/qmp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const greeting = `{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": ["oob"]}}` + "\r\n"

// A request is what the scripted QEMU below was asked.
type request struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        uint64          `json:"id"`
}

// serve listens as QEMU does and runs script on the first connection, after
// the greeting and the negotiation. It returns the socket's name.
func serve(t *testing.T, script func(conn *net.UnixConn, next func() request)) string {
	t.Helper()
	return listen(t, func(conn *net.UnixConn) {
		io.WriteString(conn, greeting)
		lines := bufio.NewScanner(conn)
		next := func() (r request) {
			if lines.Scan() {
				if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
					t.Errorf("request %q: %v", lines.Bytes(), err)
				}
			}
			return r
		}
		if r := next(); r.Execute != "qmp_capabilities" {
			t.Errorf("the first command is %q", r.Execute)
		} else {
			fmt.Fprintf(conn, `{"return": {}, "id": %d}`+"\r\n", r.ID)
		}
		script(conn, next)
	})
}

func listen(t *testing.T, handle func(*net.UnixConn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qmp.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		handle(conn.(*net.UnixConn))
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return path
}

func dial(t *testing.T, path string, onEvent func(qmp.Event)) *qmp.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := qmp.Dial(ctx, path, onEvent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestDo(t *testing.T) {
	tests := []struct {
		name    string
		answer  string // with %d for the id
		want    string // the status decoded
		wantErr string
	}{
		{"result", `{"return": {"status": "paused"}, "id": %d}`, "paused", ""},
		{"refusal", `{"error": {"class": "GenericError", "desc": "no"}, "id": %d}`, "", "qmp: query-status: no"},
		{"class", `{"error": {"class": "CommandNotFound", "desc": "no"}, "id": %d}`, "", "qmp: query-status: CommandNotFound: no"},
		{"wrong type", `{"return": {"status": 7}, "id": %d}`, "", "the answer to query-status"},
		{"garbage", `{"return": %d`, "", "not a message"},
		{"too long", `{"id": %d, "x": "` + strings.Repeat("x", 1<<20) + `"}`, "", "token too long"},
		{"another's answer first", `{"return": {"status": "wrong"}, "id": 4711}` + "\r\n" + `{"return": {"status": "right"}, "id": %d}`, "right", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := serve(t, func(conn *net.UnixConn, next func() request) {
				fmt.Fprintf(conn, tt.answer+"\r\n", next().ID)
				next()
			})
			c := dial(t, path, func(qmp.Event) {})
			var got struct{ Status string }
			err := c.Do(t.Context(), "query-status", nil, &got)
			if tt.wantErr == "" && (err != nil || got.Status != tt.want) {
				t.Errorf("got %q, %v; want %q", got.Status, err, tt.want)
			}
			if tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("err = %v, want one with %q", err, tt.wantErr)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	got := make(chan request, 2)
	path := serve(t, func(conn *net.UnixConn, next func() request) {
		for range 2 {
			r := next()
			got <- r
			fmt.Fprintf(conn, `{"return": {}, "id": %d}`+"\r\n", r.ID)
		}
	})
	c := dial(t, path, func(qmp.Event) {})
	if err := c.Do(t.Context(), "stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), "screendump", map[string]any{"filename": "x"}, nil); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.Execute != "stop" || r.Arguments != nil {
		t.Errorf("got %+v", r)
	}
	if r := <-got; r.Execute != "screendump" || string(r.Arguments) != `{"filename":"x"}` {
		t.Errorf("got %+v", r)
	}
}

// Answers find their callers whatever order they come in.
func TestConcurrent(t *testing.T) {
	const n = 20
	path := serve(t, func(conn *net.UnixConn, next func() request) {
		var all []request
		for range n {
			all = append(all, next())
		}
		for i := range all {
			r := all[n-1-i]
			fmt.Fprintf(conn, `{"return": %s, "id": %d}`+"\r\n", r.Arguments, r.ID)
		}
	})
	c := dial(t, path, func(qmp.Event) {})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var got struct{ N int }
			if err := c.Do(t.Context(), "echo", map[string]int{"N": i}, &got); err != nil || got.N != i {
				t.Errorf("caller %d got %d, %v", i, got.N, err)
			}
		})
	}
	wg.Wait()
}

func TestEvents(t *testing.T) {
	const n = 5000 // far more than any buffer
	path := serve(t, func(conn *net.UnixConn, next func() request) {
		r := next()
		for i := range n {
			fmt.Fprintf(conn, `{"event": "TICK", "data": {"n": %d}, "timestamp": {"seconds": 1700000000, "microseconds": 250000}}`+"\r\n", i)
		}
		fmt.Fprintf(conn, `{"return": {}, "id": %d}`+"\r\n", r.ID)
	})
	var got []qmp.Event
	c := dial(t, path, func(e qmp.Event) { got = append(got, e) })
	if err := c.Do(t.Context(), "go", nil, nil); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if len(got) != n {
		t.Fatalf("%d events, want %d", len(got), n)
	}
	for i, e := range got {
		if want := fmt.Sprintf(`{"n": %d}`, i); e.Name != "TICK" || string(e.Data) != want {
			t.Fatalf("event %d is %s %s", i, e.Name, e.Data)
		}
	}
	if want := time.Unix(1700000000, 250e6); !got[0].Time.Equal(want) {
		t.Errorf("time %v, want %v", got[0].Time, want)
	}
}

// A call that its caller gave up leaves the connection usable.
func TestLateAnswer(t *testing.T) {
	path := serve(t, func(conn *net.UnixConn, next func() request) {
		first, second := next(), next()
		fmt.Fprintf(conn, `{"return": {"n": 1}, "id": %d}`+"\r\n"+`{"return": {"n": 2}, "id": %d}`+"\r\n", first.ID, second.ID)
	})
	c := dial(t, path, func(qmp.Event) {})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Do(ctx, "slow", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("err = %v, want a deadline", err)
	}
	var got struct{ N int }
	if err := c.Do(t.Context(), "quick", nil, &got); err != nil || got.N != 2 {
		t.Errorf("got %d, %v; want 2", got.N, err)
	}
}

func TestFile(t *testing.T) {
	content := make(chan string, 1)
	path := serve(t, func(conn *net.UnixConn, next func() request) {
		line, oob := make([]byte, 4096), make([]byte, 64)
		n, oobn, _, _, err := conn.ReadMsgUnix(line, oob)
		if err != nil {
			t.Error(err)
			return
		}
		messages, err := syscall.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(messages) != 1 {
			t.Errorf("%d control messages, %v", len(messages), err)
			return
		}
		fds, err := syscall.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			t.Errorf("fds %v, %v", fds, err)
			return
		}
		f := os.NewFile(uintptr(fds[0]), "passed")
		defer f.Close()
		b, _ := io.ReadAll(f)
		content <- string(b)
		var r request
		json.Unmarshal(line[:n], &r)
		fmt.Fprintf(conn, `{"return": {}, "id": %d}`+"\r\n", r.ID)
	})
	name := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(name, []byte("device state"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := dial(t, path, func(qmp.Event) {})
	if err := c.DoFile(t.Context(), "getfd", map[string]string{"fdname": "state"}, f, nil); err != nil {
		t.Fatal(err)
	}
	if got := <-content; got != "device state" {
		t.Errorf("QEMU read %q", got)
	}
}

func TestConnectionLost(t *testing.T) {
	path := serve(t, func(conn *net.UnixConn, next func() request) { next() })
	c := dial(t, path, func(qmp.Event) {})
	if err := c.Do(t.Context(), "quit", nil, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("err = %v, want ErrUnexpectedEOF", err)
	}
	<-c.Done()
	if err := c.Do(t.Context(), "stop", nil, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("err = %v, want the same again", err)
	}
}

func TestClose(t *testing.T) {
	asked := make(chan struct{})
	path := serve(t, func(conn *net.UnixConn, next func() request) {
		next()
		close(asked)
		next()
	})
	c := dial(t, path, func(qmp.Event) {})
	go func() { <-asked; c.Close() }()
	if err := c.Do(t.Context(), "stop", nil, nil); !errors.Is(err, qmp.ErrClosed) {
		t.Errorf("err = %v, want ErrClosed", err)
	}
	c.Close() // again does nothing
}

func TestDialFails(t *testing.T) {
	silent := func(conn *net.UnixConn) { io.Copy(io.Discard, conn) }
	const soon, never = 50 * time.Millisecond, time.Minute
	tests := []struct {
		name    string
		handle  func(*net.UnixConn)
		timeout time.Duration
		want    string
	}{
		{"silence, as for a second client", silent, soon, "waiting for the greeting: context deadline exceeded"},
		{"no capabilities", func(conn *net.UnixConn) { io.WriteString(conn, greeting); silent(conn) }, soon, "waiting for the answer to qmp_capabilities"},
		{"hangs up", func(conn *net.UnixConn) {}, never, "waiting for the greeting: EOF"},
		{"another protocol", func(conn *net.UnixConn) { io.WriteString(conn, "220 mail\r\n") }, never, "not a message"},
		{"no greeting", func(conn *net.UnixConn) { io.WriteString(conn, "{}\r\n") }, never, "not a greeting"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
			defer cancel()
			c, err := qmp.Dial(ctx, listen(t, tt.handle), func(qmp.Event) {})
			if err == nil {
				c.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want one with %q", err, tt.want)
			}
		})
	}
	if _, err := qmp.Dial(t.Context(), filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v, want ErrNotExist", err)
	}
}
