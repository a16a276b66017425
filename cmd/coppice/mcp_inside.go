package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// What of a command's output, of each stream, and of a file an agent is given:
// all it reads takes room in its context.
const (
	mcpOutputBytes = 64 << 10
	mcpFileBytes   = 256 << 10
	mcpEntries     = 1000 // of a directory
	mcpExecTimeout = 2 * time.Minute
)

type running struct {
	named
	Command string `json:"command" jsonschema:"a script for the user's shell"`
	User    string `json:"user,omitempty" jsonschema:"root if absent"`
	Dir     string `json:"dir,omitempty" jsonschema:"directory to run in; the user's home if absent"`
	Stdin   string `json:"stdin,omitempty"`
	Timeout *int   `json:"timeout_seconds,omitempty" jsonschema:"after which it is killed; 120 if absent"`
}

// A ran is how a command went.
type ran struct {
	ExitCode int    `json:"exitCode"`
	TimedOut bool   `json:"timedOut,omitempty"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
}

type fileAt struct {
	named
	Path string `json:"path" jsonschema:"relative to the user's home, or absolute"`
	User string `json:"user,omitempty" jsonschema:"root if absent"`
}

type writing struct {
	fileAt
	Content string `json:"content"`
	Base64  bool   `json:"base64,omitempty" jsonschema:"content is base64"`
}

// A file is what is at a path in a guest.
type file struct {
	Kind    string            `json:"kind"`
	Content string            `json:"content,omitempty"`
	Base64  bool              `json:"base64,omitempty"`
	Entries map[string]string `json:"entries,omitempty"`
	LeftOut int               `json:"entriesLeftOut,omitempty"` // the last by name
}

func (t toolbox) addInside() {
	tool(t, destroys, "exec", fmt.Sprintf("Run a command in a VM and wait for it to end. Of an output of more than %d KiB you get the beginning and the end.", mcpOutputBytes>>10), t.exec)
	tool(t, looks, "read_file", fmt.Sprintf("Read a file of at most %d KiB in a VM, or list a directory, the first %d names. What is not text comes as base64.", mcpFileBytes>>10, mcpEntries), t.read)
	tool(t, replaces, "write_file", "Replace a file in a VM, or make it, with its parents.", t.write)
}

func (t toolbox) exec(ctx context.Context, in running) (any, error) {
	id, err := find(ctx, t.client, in.VM)
	if err != nil {
		return nil, err
	}
	const most = 365 * 24 * time.Hour // as everywhere
	spec := coppice.ExecSpec{Command: in.Command, User: in.User, Dir: in.Dir, Timeout: mcpExecTimeout}
	if in.Timeout != nil {
		if *in.Timeout < 1 || *in.Timeout > int(most/time.Second) {
			return nil, coppice.Errorf(coppice.CodeInvalidRequest, "timeout_seconds is %d; it can be 1 to %d", *in.Timeout, int(most/time.Second))
		}
		spec.Timeout = time.Duration(*in.Timeout) * time.Second
	}
	var stdout, stderr excerpt
	status, err := t.client.Exec(ctx, id, spec, coppice.Stdio{Stdin: strings.NewReader(in.Stdin), Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		return nil, err
	}
	return ran{ExitCode: status.Code, TimedOut: status.TimedOut, Stdout: stdout.String(), Stderr: stderr.String()}, nil
}

// An excerpt keeps the beginning and the end of what is written to it: a command
// that fails says why last.
type excerpt struct {
	begin, end []byte
	between    int // bytes that are not kept
}

func (e *excerpt) Write(b []byte) (int, error) {
	n := min(len(b), mcpOutputBytes/2-len(e.begin))
	e.begin = append(e.begin, b[:n]...)
	e.end = append(e.end, b[n:]...)
	if over := len(e.end) - mcpOutputBytes/2; over > 0 {
		e.end = slices.Delete(e.end, 0, over)
		e.between += over
	}
	return len(b), nil
}

func (e *excerpt) String() string {
	text := string(e.begin) + string(e.end)
	if e.between > 0 {
		text = fmt.Sprintf("%s\n[%d bytes left out]\n%s", e.begin, e.between, e.end)
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

func (t toolbox) read(ctx context.Context, in fileAt) (any, error) {
	id, err := find(ctx, t.client, in.VM)
	if err != nil {
		return nil, err
	}
	found, err := t.client.Files(id, in.User).Open(ctx, in.Path)
	if err != nil {
		return nil, err
	}
	if found.Dir {
		shown := found.Entries[:min(len(found.Entries), mcpEntries)]
		entries := map[string]string{}
		for _, e := range shown {
			entries[e.Name] = kindOf(e.Dir)
		}
		return file{Kind: kindOf(true), Entries: entries, LeftOut: len(found.Entries) - len(shown)}, nil
	}
	defer found.Content.Close()
	content, err := io.ReadAll(io.LimitReader(found.Content, mcpFileBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(content) > mcpFileBytes:
		return nil, fmt.Errorf("%s has more than %d KiB; read a part of it by exec, with head, tail, sed or grep", in.Path, mcpFileBytes>>10)
	case utf8.Valid(content):
		return file{Kind: kindOf(false), Content: string(content)}, nil
	}
	return file{Kind: kindOf(false), Content: base64.StdEncoding.EncodeToString(content), Base64: true}, nil
}

func kindOf(dir bool) string {
	if dir {
		return "directory"
	}
	return "file"
}

func (t toolbox) write(ctx context.Context, in writing) (any, error) {
	id, err := find(ctx, t.client, in.VM)
	if err != nil {
		return nil, err
	}
	content := []byte(in.Content)
	if in.Base64 {
		if content, err = base64.StdEncoding.DecodeString(in.Content); err != nil {
			return nil, coppice.Errorf(coppice.CodeInvalidRequest, "content is not base64: %s", err)
		}
	}
	return api.Empty{}, t.client.Files(id, in.User).Write(ctx, in.Path, 0o644, bytes.NewReader(content))
}
