package http

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/coppice-vm/coppice"
)

// maxMember bounds every member of a file's JSON but the content.
const maxMember = 64 << 10

// A bodyError says what is wrong with a file's JSON.
type bodyError string

func (e bodyError) Error() string { return string(e) }

func badBody(format string, args ...any) error { return bodyError(fmt.Sprintf(format, args...)) }

// badFileBody says why a file could not be taken from a request.
func badFileBody(err error) error {
	var corrupt base64.CorruptInputError
	switch {
	case errors.Is(err, errSpoolFull):
		return at(http.StatusRequestEntityTooLarge, coppice.Errorf(coppice.CodeFilesBadRequest,
			"the file is too large for JSON: send its bytes, with Content-Type: application/octet-stream"))
	case errors.As(err, &corrupt):
		err = badBody("content is not base64: %v", err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = badBody("it broke off")
	}
	if bad, ok := errors.AsType[bodyError](err); ok {
		return coppice.Errorf(coppice.CodeFilesBadRequest, "the body is not a file: %s. "+
			`It is JSON like {"content":"aGk=","encoding":"base64"}, or with Content-Type: application/octet-stream the bytes themselves`, string(bad))
	}
	return err
}

// openFileBody reads the JSON of an [api.FileContent] as it comes, and returns
// the file's bytes. The content is passed on as it is read if its encoding came
// before it; else it waits in a spool in dir for its encoding to be known. Read
// reports io.EOF only when all of the JSON was right.
func openFileBody(r io.Reader, dir string) (io.ReadCloser, error) {
	b := &fileBody{r: bufio.NewReaderSize(r, 64<<10), dir: dir}
	if err := b.expect('{'); err != nil {
		return nil, err
	}
	content, err := b.untilContent()
	if err != nil {
		b.Close()
		return nil, err
	}
	b.Reader = content
	return b, nil
}

// A fileBody is the JSON of a file on its way in.
type fileBody struct {
	io.Reader               // of the file's bytes
	r         *bufio.Reader // of the JSON
	dir       string
	spool     *spool // nil as long as it has not been needed

	begun    bool // a member has been seen
	hasText  bool // the content has been seen
	hasCode  bool // the encoding has been seen
	encoding string
}

func (b *fileBody) Close() error {
	if b.spool != nil {
		return b.spool.close()
	}
	return nil
}

// untilContent reads members until the content can be read, and returns its reader.
func (b *fileBody) untilContent() (io.Reader, error) {
	for {
		key, err := b.key()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if key != "content" {
			if err := b.member(key); err != nil {
				return nil, err
			}
			continue
		}
		text, err := b.text()
		if err != nil {
			return nil, err
		}
		if text == nil { // null
			continue
		}
		if b.hasCode {
			return b.decoder(io.MultiReader(text, (*fileBodyEnd)(b)))
		}
		b.spool = newSpool(b.dir)
		if _, err := io.Copy(b.spool, text); err != nil {
			return nil, err
		}
	}
	if !b.hasText {
		return nil, badBody("it has no content")
	}
	text, err := b.spool.reader()
	if err != nil {
		return nil, err
	}
	return b.decoder(text)
}

func (b *fileBody) decoder(text io.Reader) (io.Reader, error) {
	switch b.encoding {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, text), nil
	case "", "utf8", "utf-8":
		return text, nil
	}
	return nil, badBody("encoding is base64 or utf8, not %q", b.encoding)
}

// A fileBodyEnd is a reader without bytes that fails unless the JSON ends well.
type fileBodyEnd fileBody

func (e *fileBodyEnd) Read([]byte) (int, error) {
	b := (*fileBody)(e)
	for {
		key, err := b.key()
		if err == nil {
			err = b.member(key)
		}
		if err != nil {
			return 0, err // io.EOF if it did
		}
	}
}

// key reads up to a member's value. io.EOF if there are no more members, and
// nothing after them.
func (b *fileBody) key() (string, error) {
	c, err := b.next()
	if err != nil {
		return "", err
	}
	if c == '}' {
		switch _, err := b.next(); err {
		case nil:
			return "", badBody("there is something after it")
		case io.ErrUnexpectedEOF:
			return "", io.EOF
		default:
			return "", err
		}
	}
	if !b.begun {
		b.begun = true
		_ = b.r.UnreadByte()
	} else if c != ',' {
		return "", badBody("%q is where a comma should be", c)
	}
	if err := b.expect('"'); err != nil {
		return "", err
	}
	_ = b.r.UnreadByte()
	var key string
	if err := b.value(&key); err != nil {
		return "", err
	}
	return key, b.expect(':')
}

// member reads a member other than the content.
func (b *fileBody) member(key string) error {
	switch {
	case key == "content", key == "encoding" && b.hasCode:
		return badBody("%s is there twice", key)
	case key == "encoding":
		b.hasCode = true
		return b.value(&b.encoding)
	}
	var ignored any
	return b.value(&ignored)
}

// text returns the reader of the content, which must be read before anything
// else; nil if it is null.
func (b *fileBody) text() (io.Reader, error) {
	if b.hasText {
		return nil, badBody("content is there twice")
	}
	c, err := b.next()
	if err != nil {
		return nil, err
	}
	if c == '"' {
		b.hasText = true
		return &jsonString{r: b.r}, nil
	}
	_ = b.r.UnreadByte()
	var null any
	if err := b.value(&null); err != nil {
		return nil, err
	}
	if null != nil {
		return nil, badBody("content is not a string")
	}
	return nil, nil
}

// value reads a value of bounded size into v.
func (b *fileBody) value(v any) error {
	c, err := b.next()
	if err != nil {
		return err
	}
	raw := []byte{c}
	quoted, depth := c == '"', 0
	if c == '{' || c == '[' {
		depth++
	}
	for {
		if c, err = b.r.ReadByte(); err != nil {
			return unexpected(err)
		}
		if !quoted && depth == 0 && strings.IndexByte(",:}] \t\r\n", c) >= 0 {
			break
		}
		if raw = append(raw, c); len(raw) > maxMember {
			return badBody("a member other than content is too large")
		}
		switch {
		case quoted && c == '\\':
			if c, err = b.r.ReadByte(); err != nil {
				return unexpected(err)
			}
			raw = append(raw, c)
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	_ = b.r.UnreadByte()
	if err := json.Unmarshal(raw, v); err != nil {
		return badBody("%v", err)
	}
	return nil
}

// expect reads c, after white space.
func (b *fileBody) expect(c byte) error {
	got, err := b.next()
	if err == nil && got != c {
		err = badBody("%q is where a %q should be", got, c)
	}
	return err
}

// next reads the first byte that is not white space.
func (b *fileBody) next() (byte, error) {
	for {
		c, err := b.r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		if !slices.Contains([]byte(" \t\r\n"), c) {
			return c, nil
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
