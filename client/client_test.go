package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// What the daemon and its client do together is tested where the daemon's side
// is, in package http. Here is what the client does alone.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, url string) *Client {
	t.Helper()
	c, err := New(url, "key")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// serve answers every request with h.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	ts := httptest.NewServer(h)
	t.Cleanup(ts.Close)
	return newClient(t, ts.URL+"/prefix/")
}

func TestNew(t *testing.T) {
	for _, url := range []string{"", "localhost:4700", "ftp://x", "http://", "::", "/v1"} {
		if _, err := New(url, ""); err == nil {
			t.Errorf("New(%q) succeeds", url)
		}
	}
}

// Nobody listening is told from everything else, by every kind of call.
func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, "http://"+l.Addr().String())
	l.Close()
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"call":  func() error { _, err := c.WhoAmI(ctx); return err },
		"exec":  func() error { _, err := c.Exec(ctx, "id", coppice.ExecSpec{Command: "x"}, coppice.Stdio{}); return err },
		"open":  func() error { _, err := c.Files("id", "").Open(ctx, "f"); return err },
		"write": func() error { return c.Files("id", "").Write(ctx, "f", 0o644, strings.NewReader("x")) },
		"watch": func() error { return c.Files("id", "").Watch(ctx, nil) },
	} {
		if err := call(); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), l.Addr().String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.WhoAmI(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("canceled: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		status  int
		body    string
		code    coppice.Code
		message string
		fields  int
	}{
		{404, `{"code":"VM_NOT_FOUND","error":"VM_NOT_FOUND","message":"there is none","vmId":"x"}`, coppice.CodeVMNotFound, "there is none", 1},
		{418, `{"code":"NEW_CODE","message":"m"}`, "NEW_CODE", "m", 0},
		{502, "<html>bad gateway", coppice.CodeInternal, "502", 0},
		{500, `{"error":"x"}`, coppice.CodeInternal, "500", 0},
		{400, `null`, coppice.CodeInternal, "400", 0},
		{401, "", coppice.CodeInternal, "401", 0},
	} {
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer key" || !strings.HasPrefix(r.URL.Path, "/prefix/v1/") {
				t.Errorf("%s with %v", r.URL.Path, r.Header)
			}
			w.Header().Set(api.HeaderTrace, "abc123")
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		})
		_, get := client.VM(t.Context(), "x")
		_, exec := client.Exec(t.Context(), "x", coppice.ExecSpec{Command: "x"}, coppice.Stdio{})
		for _, err := range []error{get, exec} {
			e, ok := errors.AsType[*coppice.Error](err)
			if !ok || e.Code != c.code || !strings.Contains(e.Message, c.message) || len(e.Fields) != c.fields {
				t.Errorf("%d %s: %v", c.status, c.body, err)
			} else if c.code != coppice.CodeInternal && !strings.Contains(e.Error(), "abc123") {
				t.Errorf("%v does not name the request", e)
			}
		}
	}
}

// An answer that breaks off or is nonsense is an error, not an empty success.
func TestBrokenAnswers(t *testing.T) {
	for _, body := range []string{"", "{", `{"id":5}`, "<html>"} {
		client := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) })
		if vm, err := client.VM(t.Context(), "x"); err == nil {
			t.Errorf("%q: %+v", body, vm)
		}
		if _, err := client.Files("x", "").Open(t.Context(), "f"); err == nil {
			t.Errorf("%q is a file", body)
		}
		if err := client.Files("x", "").Watch(t.Context(), func(coppice.FileEvent) {}); err == nil {
			t.Errorf("%q is a watch", body)
		}
	}
}

// A file that is refused is not read, and not closed in any case.
func TestRefusedFileIsNotSent(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(404)
		io.WriteString(w, `{"code":"VM_NOT_FOUND","message":"m"}`)
	})
	f := &file{t: t}
	if err := client.Files("x", "").Write(t.Context(), "f", 0o644, f); coppice.CodeOf(err) != coppice.CodeVMNotFound {
		t.Error(err)
	}
	if f.read > 0 {
		t.Errorf("%d bytes were read", f.read)
	}
}

type file struct {
	t    *testing.T
	read int
}

func (f *file) Read(p []byte) (int, error) { f.read += len(p); return len(p), nil }
func (f *file) Close() error               { f.t.Error("it was closed"); return nil }

func TestEscape(t *testing.T) {
	for name, want := range map[string]string{
		"": "", ".": "%2E", "..": "%2E%2E", "...": "%2E%2E%2E", "/": "%2F", "/root/a b+c": "%2Froot%2Fa%20b+c", "100%": "100%25", "ü?#": "%C3%BC%3F%23", "a..": "a..",
	} {
		if got := escape(name); got != want {
			t.Errorf("%q: %q, not %q", name, got, want)
		}
	}
}

// A stream of events has no end of its own.
func TestEventsBreakOff(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "data: {\"id\":7}\n\n") })
	var last int64
	err := c.Events(t.Context(), 0, func(e api.Event) error { last = e.ID; return nil }, nil)
	if !errors.Is(err, io.ErrUnexpectedEOF) || last != 7 {
		t.Errorf("after event %d: %v", last, err)
	}
}
