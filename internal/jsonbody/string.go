package jsonbody

import (
	"bufio"
	"encoding/hex"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// A jsonString reads what a JSON string says, from after its opening quote to
// its closing one. It holds none of it.
type jsonString struct {
	r       *bufio.Reader
	decoded []byte // of an escape, not yet read
	ended   bool
}

func (s *jsonString) Read(p []byte) (int, error) {
	for {
		if len(s.decoded) > 0 {
			n := copy(p, s.decoded)
			s.decoded = s.decoded[n:]
			return n, nil
		}
		if s.ended {
			return 0, io.EOF
		}
		if len(p) == 0 {
			return 0, nil
		}
		if n, err := s.plain(p); n > 0 || err != nil {
			return n, err
		}
		if err := s.special(); err != nil {
			return 0, err
		}
	}
}

// plain copies what comes before the next quote or escape, as far as it is there.
func (s *jsonString) plain(p []byte) (int, error) {
	if _, err := s.r.Peek(1); err != nil {
		return 0, unexpected(err)
	}
	b, _ := s.r.Peek(min(len(p), s.r.Buffered()))
	n := 0
	for n < len(b) && b[n] != '"' && b[n] != '\\' && b[n] >= ' ' {
		n++
	}
	copy(p, b[:n])
	_, err := s.r.Discard(n)
	return n, err
}

// special reads a quote or an escape.
func (s *jsonString) special() error {
	c, err := s.r.ReadByte()
	if err != nil {
		return unexpected(err)
	}
	switch {
	case c == '"':
		s.ended = true
		return nil
	case c < ' ':
		return bad("content has an unescaped control character")
	}
	if c, err = s.r.ReadByte(); err != nil {
		return unexpected(err)
	}
	switch c {
	case '"', '\\', '/':
		s.decoded = []byte{c}
	case 'b':
		s.decoded = []byte{'\b'}
	case 'f':
		s.decoded = []byte{'\f'}
	case 'n':
		s.decoded = []byte{'\n'}
	case 'r':
		s.decoded = []byte{'\r'}
	case 't':
		s.decoded = []byte{'\t'}
	case 'u':
		return s.unicode()
	default:
		return bad("content has the unknown escape \\%c", c)
	}
	return nil
}

// unicode reads the digits of a \u escape, and a second one if the two are a
// pair. Half a pair is U+FFFD, as in encoding/json.
func (s *jsonString) unicode() error {
	digits, err := s.r.Peek(4)
	if err != nil {
		return unexpected(err)
	}
	r, ok := hex4(digits)
	if !ok {
		return bad("content has \\u without four digits")
	}
	_, _ = s.r.Discard(4)
	if utf16.IsSurrogate(r) {
		second := rune(utf8.RuneError)
		if next, _ := s.r.Peek(6); len(next) == 6 && next[0] == '\\' && next[1] == 'u' {
			if low, ok := hex4(next[2:]); ok {
				second = low
			}
		}
		if r = utf16.DecodeRune(r, second); r != utf8.RuneError {
			_, _ = s.r.Discard(6)
		}
	}
	s.decoded = utf8.AppendRune(nil, r)
	return nil
}

func hex4(digits []byte) (rune, bool) {
	var b [2]byte
	_, err := hex.Decode(b[:], digits)
	return rune(b[0])<<8 | rune(b[1]), err == nil
}
