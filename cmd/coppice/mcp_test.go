package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/coppice-vm/coppice/internal/host"
)

// An agent is a client of coppice mcp.
type agent struct {
	*testing.T
	session *mcp.ClientSession
}

func newAgent(t *testing.T, transport mcp.Transport) agent {
	t.Helper()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), transport, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return agent{t, session}
}

// calls calls a tool, and returns what it says: its JSON, or text if it failed.
func (a agent) calls(tool string, arguments map[string]any) (said string, failed bool) {
	a.Helper()
	result, err := a.session.CallTool(a.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		a.Fatalf("%s: %v", tool, err)
	}
	return result.Content[0].(*mcp.TextContent).Text, result.IsError
}

// does calls a tool that must not fail, and returns what it says.
func (a agent) does(tool string, arguments map[string]any) (said struct {
	ID, Stdout, Stderr, Content string
	ExitCode                    int
	Base64                      bool
	Entries                     map[string]string
	EntriesLeftOut              int
	VMs                         []struct{ ID, Name, State string }
	Forks                       []struct{ ID string }
}) {
	a.Helper()
	text, failed := a.calls(tool, arguments)
	if failed {
		a.Fatalf("%s: %s", tool, text)
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		a.Fatalf("%s: %v: %s", tool, err, text)
	}
	return said
}

// newMCPAgent returns a client of "coppice mcp" that speaks to it on its standard streams.
func newMCPAgent(t *testing.T, c host.Credentials) agent {
	t.Helper()
	toServer, fromClient := io.Pipe()
	toClient, fromServer := io.Pipe()
	startMCP(t, c, toServer, fromServer, t.Output())
	return newAgent(t, &mcp.IOTransport{Reader: toClient, Writer: fromClient})
}

// startMCP runs "coppice mcp" against a host, with these standard streams.
func startMCP(t *testing.T, c host.Credentials, stdin io.Reader, stdout, stderr io.Writer, args ...string) {
	t.Helper()
	m := &Main{Stdin: stdin, Stdout: stdout, Stderr: stderr, Getenv: os.Getenv}
	if err := m.Parse(append([]string{"mcp", "--api-url", c.URL, "--api-key", c.Key}, args...)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
}

// What an agent may do, from its first VM to the last.
func TestMCP(t *testing.T) {
	home := t.TempDir()
	a := newMCPAgent(t, serveTwin(t, home))
	vm := a.does("create_vm", map[string]any{"name": "tree", "memory_gib": 0.5}).ID
	for _, call := range []struct {
		tool      string
		arguments map[string]any
		said      string // in what it says
	}{
		{"get_vm", map[string]any{"vm": vm[:6]}, `"memSizeMib":512`},
		{"suspend_vm", map[string]any{"vm": "tree"}, vm},
		{"start_vm", map[string]any{"vm": "tree"}, vm},
		{"snapshot_vm", map[string]any{"vm": "tree", "name": "seed"}, `"snapshotId":"sc-`},
		{"list_snapshots", nil, `"seed"`},
		{"create_vm", map[string]any{"snapshot": "seed", "name": "seedling"}, `"id"`},
		{"stop_vm", map[string]any{"vm": "tree"}, vm},
		{"resize_vm", map[string]any{"vm": "tree", "cpus": 4}, "{}"},
		{"get_vm", map[string]any{"vm": "tree"}, `"vcpuCount":4`},
		{"start_vm", map[string]any{"vm": "tree"}, vm},
		{"kill_vm", map[string]any{"vm": "tree"}, vm},
		{"vm_history", map[string]any{"vm": "tree"}, `"resized"`},
		{"start_vm", map[string]any{"vm": "tree"}, vm},
	} {
		if text, failed := a.calls(call.tool, call.arguments); failed || !strings.Contains(text, call.said) {
			t.Errorf("%s of %v says %s", call.tool, call.arguments, text)
		}
	}
	if forks := a.does("fork_vm", map[string]any{"vm": "tree", "count": 2, "name": "twig"}).Forks; len(forks) != 2 {
		t.Errorf("2 forks are %+v", forks)
	}
	a.does("delete_vm", map[string]any{"vm": "twig-1"})
	var names []string
	for _, vm := range a.does("list_vms", nil).VMs {
		names = append(names, vm.Name)
	}
	if got := strings.Join(names, " "); got != "tree seedling twig-2" {
		t.Errorf("there are %s", got)
	}

	a.does("write_file", map[string]any{"vm": "tree", "path": "dir/note", "content": "text"})
	if got := a.does("exec", map[string]any{"vm": "tree", "command": "cat note - && echo oops >&2 && exit 3", "dir": "dir", "stdin": " and more"}); got.Stdout != "text and more" || got.Stderr != "oops\n" || got.ExitCode != 3 {
		t.Errorf("exec: %+v", got)
	}
	if got := a.does("exec", map[string]any{"vm": "tree", "command": "echo began; yes | head -c 100000; echo failed"}); !strings.HasPrefix(got.Stdout, "began\ny\n") ||
		!strings.HasSuffix(got.Stdout, "y\nfailed\n") || strings.Count(got.Stdout, "\n[34477 bytes left out]\n") != 1 {
		t.Errorf("much output is %d bytes, %q to %q", len(got.Stdout), got.Stdout[:10], got.Stdout[len(got.Stdout)-10:])
	}
	a.does("write_file", map[string]any{"vm": "tree", "path": "dir/bytes", "content": "/w==", "base64": true})
	if got, err := os.ReadFile(filepath.Join(home, "dir/bytes")); err != nil || string(got) != "\xff" {
		t.Errorf("what was written is %q, %v", got, err)
	}
	if got := a.does("read_file", map[string]any{"vm": "tree", "path": "dir/bytes"}); got.Content != "/w==" || !got.Base64 {
		t.Errorf("read_file: %+v", got)
	}
	if got := a.does("read_file", map[string]any{"vm": "tree", "path": "dir"}).Entries; len(got) != 2 || got["note"] != "file" {
		t.Errorf("a directory has %v", got)
	}
	a.does("exec", map[string]any{"vm": "tree", "command": "mkdir many; cd many; seq -w 1 1010 | xargs touch", "timeout_seconds": 60})
	if got := a.does("read_file", map[string]any{"vm": "tree", "path": "many"}); len(got.Entries) != 1000 || got.Entries["1000"] == "" || got.EntriesLeftOut != 10 {
		t.Errorf("of a directory with 1010 entries there are %d, and %d left out", len(got.Entries), got.EntriesLeftOut)
	}

	for _, call := range []struct {
		tool      string
		arguments map[string]any
		said      string
	}{
		{"exec", map[string]any{"vm": "bush", "command": "true"}, "(VM_NOT_FOUND)"},
		{"create_vm", map[string]any{"cpus": 3}, "(CREATE_VM_VCPU_NOT_POWER_OF_TWO)"},
		{"read_file", map[string]any{"vm": "tree", "path": "nothing"}, "(FILE_NOT_FOUND)"},
		{"write_file", map[string]any{"vm": "tree", "path": "f", "content": "?", "base64": true}, "content is not base64: illegal base64 data at input byte 0 (INVALID_REQUEST)"},
		{"exec", map[string]any{"vm": "tree"}, "command"},
		{"exec", map[string]any{"vm": "tree", "command": "true", "timeout_seconds": -5}, "it can be 1 to 31536000 (INVALID_REQUEST)"},
		{"exec", map[string]any{"vm": "tree", "command": "true", "timeout_seconds": 31536001}, "it can be 1 to 31536000 (INVALID_REQUEST)"},
	} {
		if text, failed := a.calls(call.tool, call.arguments); !failed || !strings.Contains(text, call.said) {
			t.Errorf("%s of %v says %s", call.tool, call.arguments, text)
		}
	}
}

// A call that an agent gives up ends what it started in the guest.
func TestMCPCancels(t *testing.T) {
	home := t.TempDir()
	a := newMCPAgent(t, serveTwin(t, home))
	vm := a.does("create_vm", nil).ID

	ctx, cancel := context.WithCancel(t.Context())
	given := make(chan error)
	go func() {
		_, err := a.session.CallTool(ctx, &mcp.CallToolParams{Name: "exec", Arguments: map[string]any{
			"vm": vm, "command": "mkfifo pipe; exec 3<>pipe; echo $$ >pid.tmp; mv pid.tmp pid; read -r line <&3"}})
		given <- err
	}()
	var pid int
	eventually(t, "the command runs", func() bool {
		b, err := os.ReadFile(filepath.Join(home, "pid"))
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		}
		return err == nil
	})
	t.Cleanup(func() {
		if t.Failed() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	cancel()
	if err := <-given; !errors.Is(err, context.Canceled) {
		t.Errorf("the call: %v", err)
	}
	eventually(t, "the command has ended", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
}

// What is no message is answered with what is wrong, and those that follow are heard.
func TestMCPRefuses(t *testing.T) {
	toServer, fromClient := io.Pipe()
	toClient, fromServer := io.Pipe()
	startMCP(t, serveTwin(t, t.TempDir()), toServer, fromServer, t.Output())
	defer time.AfterFunc(time.Minute, func() { fromServer.Close() }).Stop()
	answers := bufio.NewScanner(toClient)
	for _, c := range []struct{ line, want string }{
		{"what?", `{"error":{"code":-32700,`},
		{`{"jsonrpc":"2.0",`, `{"error":{"code":-32700,`},
		{`{"hello":1}`, `{"error":{"code":-32600,`},
		{`[]`, `{"error":{"code":-32600,`},
		{"\n" + `{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\r", `{"jsonrpc":"2.0","id":1,`},
	} {
		go io.WriteString(fromClient, c.line+"\n")
		if !answers.Scan() {
			t.Fatalf("no answer to %q: %v", c.line, answers.Err())
		}
		if got := answers.Text(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%q is answered with %s, want %s", c.line, got, c.want)
		}
	}
	fromClient.Close()
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

// serveMCP runs "coppice mcp --listen" against a host, with a key that is good for
// nothing. It returns where a client speaks to it by another.
func serveMCP(t *testing.T, url string) (endpoint string, by func(key string) mcp.Transport) {
	t.Helper()
	said, stderr := io.Pipe()
	startMCP(t, host.Credentials{URL: url, Key: "nobody's"}, strings.NewReader(""), t.Output(), stderr, "--listen", "127.0.0.1:0")
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	endpoint = strings.TrimSpace(strings.TrimPrefix(line, "serving "))
	return endpoint, func(key string) mcp.Transport {
		return &mcp.StreamableClientTransport{Endpoint: endpoint, HTTPClient: &http.Client{Transport: bearing{key}}}
	}
}

// By HTTP every client is who its key says.
func TestMCPByHTTP(t *testing.T) {
	credentials := serveTwin(t, t.TempDir())
	endpoint, by := serveMCP(t, credentials.URL)
	a := newAgent(t, by(credentials.Key))
	if vm := a.does("create_vm", map[string]any{"name": "tree"}).ID; vm == "" {
		t.Error("a VM was created that has no id")
	}
	stranger := newAgent(t, by("wrong"))
	if text, failed := stranger.calls("list_vms", nil); !failed || !strings.Contains(text, "(UNAUTHORIZED_ERROR)") {
		t.Errorf("by a wrong key: %s", text)
	}
	resp, err := http.Post(endpoint, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a key: %s", resp.Status)
	}
}

// bearing sends requests with a key.
type bearing struct{ key string }

func (b bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.key)
	return http.DefaultTransport.RoundTrip(r)
}
