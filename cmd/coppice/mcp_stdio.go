package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// stdio speaks with the client that started this program.
func (m *Main) stdio() mcp.Transport {
	out := &lineWriter{w: m.Stdout}
	in := bufio.NewScanner(m.Stdin)
	in.Buffer(nil, mcp.DefaultMaxLineLength)
	return &mcp.IOTransport{Reader: io.NopCloser(&lineReader{in: in, out: out}), Writer: out}
}

// A lineReader reads the lines that are messages. What is none is answered here:
// [mcp.IOTransport] would end with the first such line.
type lineReader struct {
	in   *bufio.Scanner
	out  io.Writer
	rest []byte
}

func (r *lineReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if !r.in.Scan() {
			if err := r.in.Err(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		line := bytes.TrimSpace(r.in.Bytes())
		if len(line) == 0 {
			continue
		}
		if code, err := checkMessage(line); err != nil {
			if err := refuse(r.out, code, err); err != nil {
				return 0, err
			}
			continue
		}
		r.rest = append(slices.Clone(line), '\n')
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// checkMessage returns an error, and its code, if a line is not a message, nor a
// batch of them, as there are in early versions of the protocol.
func checkMessage(line []byte) (code int, err error) {
	var message json.RawMessage
	if err := json.Unmarshal(line, &message); err != nil {
		return jsonrpc.CodeParseError, err
	}
	var batch []json.RawMessage
	if json.Unmarshal(line, &batch) != nil {
		batch = []json.RawMessage{message}
	}
	if len(batch) == 0 {
		err = errors.New("an empty batch")
	}
	for _, message := range batch {
		if _, failed := jsonrpc.DecodeMessage(message); failed != nil {
			err = failed
		}
	}
	return jsonrpc.CodeInvalidRequest, err
}

// refuse answers what has no id that could be told.
func refuse(w io.Writer, code int, why error) error {
	answer, err := json.Marshal(map[string]any{
		"jsonrpc": "2.0", "id": nil, "error": jsonrpc.Error{Code: int64(code), Message: why.Error()},
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", answer)
	return err
}

// A lineWriter is for more than one who writes whole lines, and somebody else closes it.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

func (*lineWriter) Close() error { return nil }
