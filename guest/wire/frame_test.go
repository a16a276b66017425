package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/coppice-vm/coppice"
)

func TestFrames(t *testing.T) {
	var stream bytes.Buffer
	must(t, Write(&stream, Data, []byte("content")))
	must(t, Write(&stream, End, nil))
	must(t, WriteJSON(&stream, Head, Clock{Now: 42}))
	must(t, WriteJSON(&stream, Fail, NewError(fs.ErrNotExist)))

	r := NewReader(&stream)
	if f, err := r.Next(7); err != nil || f.Kind != Data || string(f.Content) != "content" {
		t.Errorf("first frame: %q %q %v", f.Kind, f.Content, err)
	}
	if f, err := r.Next(0); err != nil || f.Kind != End || len(f.Content) != 0 {
		t.Errorf("second frame: %q %q %v", f.Kind, f.Content, err)
	}
	var clock Clock
	if err := r.Answer(&clock); err != nil || clock.Now != 42 {
		t.Errorf("answer: %v %v", clock, err)
	}
	if err := r.Answer(&clock); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("failure: %v, want ErrNotExist", err)
	}
	if _, err := r.Next(7); err != io.EOF {
		t.Errorf("after the last frame: %v, want EOF", err)
	}
}

func TestFramesRefused(t *testing.T) {
	for name, stream := range map[string]string{
		"longer than the limit": "d\x00\x00\x00\x08content!",
		"negative":              "d\xFF\xFF\xFF\xFF",
		"of no kind":            "x\x00\x00\x00\x00",
		"cut in the header":     "d\x00",
		"cut in the content":    "d\x00\x00\x00\x07cont",
		"cut before content":    "d\x00\x00\x00\x07",
	} {
		if f, err := NewReader(strings.NewReader(stream)).Next(7); err == nil || err == io.EOF {
			t.Errorf("a frame %s: %q, %v; want an error that is not EOF", name, f.Content, err)
		}
	}
}

// Whatever comes is refused or is a frame that is written the same way, and
// its content keeps to the limit.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("d\x00\x00\x00\x03abc.\x00\x00\x00\x00"), 100)
	f.Add([]byte("h\x00\x00\x00\x0a{\"Now\": 1}"), 5)
	f.Fuzz(func(t *testing.T, stream []byte, limit int) {
		limit = max(0, min(limit, MaxFrame))
		r := NewReader(bytes.NewReader(stream))
		var again bytes.Buffer
		for {
			frame, err := r.Next(limit)
			if err != nil {
				break
			}
			if len(frame.Content) > limit {
				t.Fatalf("%d bytes of content, more than %d", len(frame.Content), limit)
			}
			must(t, Write(&again, frame.Kind, frame.Content))
			var info FileInfo
			frame.Answer(&info)
		}
		if !bytes.HasPrefix(stream, again.Bytes()) {
			t.Fatalf("%q was read as %q", stream, again.Bytes())
		}
	})
}

func TestErrorsKeepTheirCause(t *testing.T) {
	for _, test := range []struct{ err, want error }{
		{fmt.Errorf("exec: %w", coppice.ErrNoUser), coppice.ErrNoUser},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.ENOENT}, fs.ErrNotExist},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}, fs.ErrPermission},
		{&os.LinkError{Op: "rename", Err: syscall.EISDIR}, fs.ErrInvalid},
		{syscall.ENOTDIR, fs.ErrInvalid},
		{syscall.EEXIST, fs.ErrExist},
	} {
		over, err := json.Marshal(NewError(test.err))
		must(t, err)
		var got Error
		must(t, json.Unmarshal(over, &got))
		if !errors.Is(&got, test.want) {
			t.Errorf("%v arrived as %v, which is not %v", test.err, &got, test.want)
		}
	}
	if err := NewError(errors.New(strings.Repeat("x", 1<<20))); errors.Unwrap(err) != nil || len(err.Message) > 4096 {
		t.Errorf("an error of no known cause and no end: cause %v, %d bytes", errors.Unwrap(err), len(err.Message))
	}
}
