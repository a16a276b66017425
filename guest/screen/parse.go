package screen

import "unicode/utf8"

// A parser cuts a stream into characters and control sequences, as the state
// machine of DEC's terminals does.
type parser struct {
	state   parserState
	partial [utf8.UTFMax]byte // of a character that came in pieces
	have    int               // bytes in partial

	prefix  byte // of a control sequence: '?', '>', '<' or '='
	inter   byte // an intermediate byte; the last one
	params  []param
	command []byte // of an operating system command
	quit    bool   // of a string: the byte before was an ESC
	raw     []byte // what came of what is not complete, the first of it
}

type parserState byte

const (
	ground parserState = iota
	escape
	sequence // of control, after its CSI
	skipped  // a sequence that is not understood
	osc
	text // of a string that means nothing here: DCS, APC, PM, SOS
)

const (
	maxParams  = 32
	maxParam   = 1 << 16
	maxCommand = 1024
	maxRaw     = 4096
)

// A param is one number in a control sequence. sub says that it belongs to the one before.
type param struct {
	n   int // -1 if it was left out
	sub bool
}

// Write takes what a program writes. It never fails.
func (s *Screen) Write(p []byte) (int, error) {
	for i := 0; i < len(p); {
		if s.parser.state == ground && s.parser.have == 0 && p[i] >= 0x20 && p[i] < 0x7F {
			s.put(rune(p[i]))
			i++
			continue
		}
		n := s.step(p[i])
		s.parser.note(p[i : i+n])
		i += n
	}
	return len(p), nil
}

// step takes one byte and returns 1; or 0 if the same byte is to come again.
func (s *Screen) step(b byte) int {
	ps := &s.parser
	if ps.have > 0 || ps.state == ground && b >= 0x80 {
		return s.character(b)
	}
	switch {
	case ps.state == osc || ps.state == text:
		s.stringByte(b)
	case b == 0x1B:
		ps.begin(escape)
	case b == 0x18 || b == 0x1A: // CAN, SUB
		ps.state = ground
	case b < 0x20:
		s.control(b)
	case b >= 0x7F:
		if b > 0x7F {
			ps.state = ground // no sequence has such a byte
		}
	case ps.state == escape:
		s.escapeByte(b)
	default:
		s.sequenceByte(b)
	}
	return 1
}

// begin begins a sequence or a string.
func (ps *parser) begin(state parserState) {
	*ps = parser{state: state, params: ps.params[:0], command: ps.command[:0], raw: ps.raw}
}

// note remembers what has just been parsed, if it is not complete: a terminal
// that the screen is drawn on now gets the rest.
func (ps *parser) note(p []byte) {
	switch {
	case ps.state == ground && ps.have == 0:
		ps.raw = ps.raw[:0]
	case p[0] == 0x1B && ps.state == escape && !ps.quit:
		ps.raw = append(ps.raw[:0], p...)
	case p[0] < 0x20 && p[0] != 0x1B && ps.state != osc && ps.state != text: // has been done
	case len(ps.raw) < maxRaw:
		ps.raw = append(ps.raw, p...)
	}
}

// character takes a byte of a character that is no ASCII, and returns 1; or 0
// if the byte does not belong to what came before, which was no character.
func (s *Screen) character(b byte) int {
	ps := &s.parser
	ps.partial[ps.have] = b
	ps.have++
	whole := ps.partial[:ps.have]
	if !utf8.FullRune(whole) {
		return 1
	}
	r, size := utf8.DecodeRune(whole)
	taken := 1
	if size < len(whole) {
		taken = 0
	}
	ps.have = 0
	if r >= 0xA0 { // C1 controls are not used with UTF-8
		s.put(r)
	}
	return taken
}

func (s *Screen) escapeByte(b byte) {
	ps := &s.parser
	switch {
	case b < 0x30:
		ps.inter = b
	case b == '[' && ps.inter == 0:
		ps.begin(sequence)
	case b == ']' && ps.inter == 0:
		ps.begin(osc)
	case (b == 'P' || b == 'X' || b == '^' || b == '_') && ps.inter == 0:
		ps.begin(text)
	default:
		ps.state = ground
		s.escaped(ps.inter, b)
	}
}

func (s *Screen) sequenceByte(b byte) {
	ps := &s.parser
	switch {
	case b >= 0x40:
		understood := ps.state == sequence
		ps.state = ground
		if understood {
			s.sequence(b)
		}
	case ps.state == skipped:
	case b >= '<' && b <= '?' && len(ps.params) == 0 && ps.inter == 0 && ps.prefix == 0:
		ps.prefix = b
	case b < 0x30:
		ps.inter = b
	case b > ';' || ps.inter != 0 || len(ps.params) >= maxParams:
		ps.state = skipped
	default:
		ps.digit(b)
	}
}

// digit takes a digit of a number, or what ends it.
func (ps *parser) digit(b byte) {
	if len(ps.params) == 0 {
		ps.params = append(ps.params, param{n: -1})
	}
	last := &ps.params[len(ps.params)-1]
	if b >= ':' {
		ps.params = append(ps.params, param{n: -1, sub: b == ':'})
		return
	}
	last.n = min(max(last.n, 0)*10+int(b-'0'), maxParam)
}

// stringByte takes a byte of a string, which ends with BEL or ESC \.
func (s *Screen) stringByte(b byte) {
	ps := &s.parser
	switch {
	case b == 0x18 || b == 0x1A:
		ps.state = ground
	case ps.quit && b != '\\': // it was cut short by another sequence
		ps.raw = append(ps.raw[:0], 0x1B)
		ps.begin(escape)
		s.step(b)
	case b == 0x1B:
		ps.quit = true
	case b == '\\' && ps.quit, b == 0x07:
		command := ps.state == osc
		ps.state = ground
		if command {
			s.command(ps.command)
		}
	case ps.state == osc && len(ps.command) < maxCommand:
		ps.command = append(ps.command, b)
	}
}

// number returns parameter i, or otherwise if it was left out or is 0 and that
// means the same.
func (ps *parser) number(i, otherwise int) int {
	if i >= len(ps.params) || ps.params[i].n < 1 {
		return otherwise
	}
	return ps.params[i].n
}
