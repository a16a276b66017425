package jsonbody

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

func read(r io.Reader, dir string) ([]byte, error) {
	body, err := Open(r, dir)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// What encoding/json makes of a file's JSON, the reader that holds nothing
// makes of it too, however the bytes arrive.
func FuzzOpen(f *testing.F) {
	for _, s := range []string{
		`{"content":"AP8K","encoding":"base64"}`, `{"encoding":"base64","content":"AP8K"}`, `{"content":"a\u00e9\ud83d\ude42\n"}`,
		`{"content":"\ud83d","encoding":"utf8"}`, `{"content":"\ud83d\u0041"}`, `{"content":"\ud83d\ud83d\ude42"}`, `{"content":"\ud800\udCX0"}`,
		`{"a":[1,{"b":"]"}],"content":"x"}`, ` { "content" : "x" , "encoding" : null } `, `{"content":null}`, `{}`, `{`, ``,
		`{"content":"x"}}`, `{"content":"x",}`, `{,"content":"x"}`, `{"content":"x" "encoding":"utf8"}`, `{null:1,"content":"x"}`,
		`{"content":"\x"}`, "{\"content\":\"\x01\"}", `{"content":"x","content":"y"}`, `{"encoding":5,"content":"x"}`, `{"a":tru,"content":"x"}`,
		`{"content":"x","a":"\"}"}`, `{"content":"\u12"}`, `{"a":1 2,"content":"x"}`, `{"a"1,"content":"x"}`, `[]`, `{"\u0063ontent":"x"}`,
	} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, in []byte) {
		if !utf8.Valid(in) {
			t.Skip("encoding/json would repair it; we pass it on")
		}
		want, ok := oracle(in)
		for _, r := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in))} {
			got, err := read(r, dir)
			if ok != (err == nil) || ok && !bytes.Equal(got, want) {
				t.Fatalf("%q: %q %v; encoding/json says %q %v", in, got, err, want, ok)
			}
		}
	})
}

// oracle reads a file's JSON with encoding/json. What only the standard
// library allows, it does not: members twice, and names in another case.
func oracle(in []byte) ([]byte, bool) {
	dec := json.NewDecoder(bytes.NewReader(in))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, false
	}
	var content, encoding *string
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, false
		}
		name := key.(string)
		var raw json.RawMessage
		if dec.Decode(&raw) != nil {
			return nil, false
		}
		switch name {
		case "content":
			if content != nil || json.Unmarshal(raw, &content) != nil {
				return nil, false
			}
		case "encoding":
			if seen[name] || json.Unmarshal(raw, &encoding) != nil {
				return nil, false
			}
		}
		seen[name] = true
	}
	if _, err := dec.Token(); err != nil {
		return nil, false
	}
	if _, err := dec.Token(); err != io.EOF || content == nil {
		return nil, false
	}
	if encoding == nil || *encoding == "" || *encoding == "utf8" || *encoding == "utf-8" {
		return []byte(*content), true
	}
	b, err := base64.StdEncoding.DecodeString(*content)
	return b, err == nil && *encoding == "base64"
}

// Whatever a body is, reading it ends with an error or all of it.
func FuzzBytes(f *testing.F) {
	f.Add([]byte("{\"content\":\"\xff\xfe\"}"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, in []byte) {
		_, err := read(bytes.NewReader(in), dir)
		_, wrong := errors.AsType[Error](err)
		_, corrupt := errors.AsType[base64.CorruptInputError](err)
		if err != nil && !wrong && !corrupt && err != io.ErrUnexpectedEOF {
			t.Errorf("%q: %v", in, err)
		}
	})
}

func TestBounds(t *testing.T) {
	dir := t.TempDir()
	if _, err := read(strings.NewReader(`{"a":"`+strings.Repeat("x", maxMember)+`","content":"x"}`), dir); err == nil {
		t.Error("a member may be of any size")
	}
	if _, err := read(strings.NewReader(`{"a":`+strings.Repeat("[", maxMember)), dir); err == nil {
		t.Error("a member may be of any depth")
	}
	torn := io.MultiReader(strings.NewReader(`{"content":"x`), iotest.ErrReader(io.ErrClosedPipe))
	if _, err := read(torn, dir); err != io.ErrClosedPipe {
		t.Errorf("a reader that fails: %v", err)
	}
}

// A spool gives back what was written, in memory or in its file.
func TestSpool(t *testing.T) {
	for _, size := range []int{0, 1, spoolMemory, spoolMemory + 1, 3*spoolMemory + 17} {
		s := newSpool(t.TempDir())
		want := bytes.Repeat([]byte("0123456789abcdefg"), size/17+1)[:size]
		if _, err := io.CopyBuffer(s, struct{ io.Reader }{bytes.NewReader(want)}, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		r, err := s.reader()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes became %d, %v", size, len(got), err)
		}
		if (s.file != nil) != (size > spoolMemory) {
			t.Errorf("%d bytes: in a file: %v", size, s.file != nil)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
	s := newSpool(t.TempDir())
	s.size = spoolLimit
	if _, err := s.Write([]byte("x")); err != ErrTooLarge {
		t.Errorf("beyond the limit: %v", err)
	}
}
