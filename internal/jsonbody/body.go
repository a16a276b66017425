// Package jsonbody reads a file out of the JSON it was sent in, like
// {"content":"aGk=","encoding":"base64"}, without holding either.
package jsonbody

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxMember bounds every member of a file's JSON but the content.
const maxMember = 64 << 10

// An Error says what is wrong with the JSON.
type Error string

func (e Error) Error() string { return string(e) }

func bad(format string, args ...any) error { return Error(fmt.Sprintf(format, args...)) }

// Open reads JSON with a content, an encoding ("base64", or by default "utf8")
// and any other members as it comes, and returns the content's bytes. They are
// passed on as they are read if the encoding came before the content; else the
// content waits in a spool for its encoding to be known: in memory if it is
// small, and in a file without a name in dir. Read reports [io.EOF] only when
// all of the JSON was right. What was wrong is an [Error], a
// [base64.CorruptInputError], [io.ErrUnexpectedEOF] if the JSON broke off, or
// [ErrTooLarge]; any other error is r's or the spool's.
func Open(r io.Reader, dir string) (io.ReadCloser, error) {
	b := &body{r: bufio.NewReaderSize(r, 64<<10), dir: dir}
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

// A body is JSON on its way in.
type body struct {
	io.Reader               // of the file's bytes
	r         *bufio.Reader // of the JSON
	dir       string
	spool     *spool // nil as long as it has not been needed

	begun    bool // a member has been seen
	hasText  bool // the content has been seen
	hasCode  bool // the encoding has been seen
	encoding string
}

func (b *body) Close() error {
	if b.spool != nil {
		return b.spool.close()
	}
	return nil
}

// untilContent reads members until the content can be read, and returns its reader.
func (b *body) untilContent() (io.Reader, error) {
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
			return b.decoder(io.MultiReader(text, (*bodyEnd)(b)))
		}
		b.spool = newSpool(b.dir)
		if _, err := io.Copy(b.spool, text); err != nil {
			return nil, err
		}
	}
	if !b.hasText {
		return nil, bad("it has no content")
	}
	text, err := b.spool.reader()
	if err != nil {
		return nil, err
	}
	return b.decoder(text)
}

func (b *body) decoder(text io.Reader) (io.Reader, error) {
	switch b.encoding {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, text), nil
	case "", "utf8", "utf-8":
		return text, nil
	}
	return nil, bad("encoding is base64 or utf8, not %q", b.encoding)
}

// A bodyEnd is a reader without bytes that fails unless the JSON ends well.
type bodyEnd body

func (e *bodyEnd) Read([]byte) (int, error) {
	b := (*body)(e)
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
func (b *body) key() (string, error) {
	c, err := b.next()
	if err != nil {
		return "", err
	}
	if c == '}' {
		switch _, err := b.next(); err {
		case nil:
			return "", bad("there is something after it")
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
		return "", bad("%q is where a comma should be", c)
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
func (b *body) member(key string) error {
	switch {
	case key == "content", key == "encoding" && b.hasCode:
		return bad("%s is there twice", key)
	case key == "encoding":
		b.hasCode = true
		return b.value(&b.encoding)
	}
	var ignored any
	return b.value(&ignored)
}

// text returns the reader of the content, which must be read before anything
// else; nil if it is null.
func (b *body) text() (io.Reader, error) {
	if b.hasText {
		return nil, bad("content is there twice")
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
		return nil, bad("content is not a string")
	}
	return nil, nil
}

// value reads a value of bounded size into v.
func (b *body) value(v any) error {
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
			return bad("a member other than content is too large")
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
		return bad("%v", err)
	}
	return nil
}

// expect reads c, after white space.
func (b *body) expect(c byte) error {
	got, err := b.next()
	if err == nil && got != c {
		err = bad("%q is where a %q should be", got, c)
	}
	return err
}

// next reads the first byte that is not white space.
func (b *body) next() (byte, error) {
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
