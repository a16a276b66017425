package screen

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
)

// control does a control character.
func (s *Screen) control(b byte) {
	switch b {
	case '\b':
		s.moveTo(s.cursor.x-1, s.cursor.y)
	case '\t':
		s.tab(1)
	case '\n', '\v', '\f':
		s.cursor.wrap = false
		s.index()
		if s.on(modeNewline) {
			s.cursor.x = 0
		}
	case '\r':
		s.moveTo(0, s.cursor.y)
	case 0x0E:
		s.cursor.shift = 1
	case 0x0F:
		s.cursor.shift = 0
	}
}

// tab moves the cursor by n stops; back if n is negative.
func (s *Screen) tab(n int) {
	x, step := s.cursor.x, 1
	if n < 0 {
		step, n = -1, -n
	}
	for ; n > 0; n-- {
		for x += step; x > 0 && x < s.cols-1 && !s.tabs[x]; x += step {
		}
		if x <= 0 || x >= s.cols-1 {
			break
		}
	}
	s.moveTo(x, s.cursor.y)
}

// escaped does what follows an ESC.
func (s *Screen) escaped(inter, b byte) {
	if i := strings.IndexByte("()*+", inter); i >= 0 && inter != 0 {
		s.cursor.charsets[i] = ascii
		if b == '0' {
			s.cursor.charsets[i] = drawing
		}
		return
	}
	if inter == '#' && b == '8' {
		s.align()
	}
	if inter != 0 {
		return
	}
	switch b {
	case '7':
		s.save()
	case '8':
		s.restore()
	case 'D':
		s.cursor.wrap = false
		s.index()
	case 'E':
		s.cursor.wrap, s.cursor.x = false, 0
		s.index()
	case 'H':
		s.tabs[s.cursor.x] = true
	case 'M':
		s.cursor.wrap = false
		if s.cursor.y == s.top {
			s.scrollDown(s.top, 1)
		} else {
			s.up(1)
		}
	case 'c':
		s.reset()
	case '=', '>':
		s.keypad = b == '='
	case 'n':
		s.cursor.shift = 2
	case 'o':
		s.cursor.shift = 3
	}
}

// align fills the screen with E, to adjust a tube by.
func (s *Screen) align() {
	s.top, s.end, s.cursor.pen = 0, s.rows, pen{}
	s.cursor.origin = false
	s.moveTo(0, 0)
	for y := range s.rows {
		l := s.edit(y)
		*l = nil
		for x := range s.cols {
			l.set(x, 'E', 1, pen{})
		}
	}
}

// sequence does a control sequence.
func (s *Screen) sequence(b byte) {
	ps := &s.parser
	switch {
	case ps.inter == 0 && ps.prefix == 0:
		s.plain(b)
	case ps.inter == 0 && ps.prefix == '?':
		s.private(b)
	case ps.inter == ' ' && ps.prefix == 0 && b == 'q':
		if shape := ps.number(0, 0); shape <= 6 {
			s.shape = shape
		}
	case ps.inter == '!' && b == 'p':
		s.softReset()
	}
}

func (s *Screen) softReset() {
	for _, m := range []mode{modeInsert, modeCursorKeys, modeWrap, modeCursor} {
		s.set(m, slices.Contains(onAtFirst, m))
	}
	s.keypad = false
	s.top, s.end = 0, s.rows
	s.cursor = cursor{x: s.cursor.x, y: s.cursor.y}
	s.grid.saved = cursor{}
}

// plain does a control sequence that has nothing but numbers.
func (s *Screen) plain(b byte) {
	c, n := &s.cursor, s.parser.number(0, 1)
	switch b {
	case 'A':
		s.up(n)
	case 'B', 'e':
		s.down(n)
	case 'C', 'a':
		s.moveTo(c.x+n, c.y)
	case 'D':
		s.moveTo(c.x-n, c.y)
	case 'E':
		s.down(n)
		c.x = 0
	case 'F':
		s.up(n)
		c.x = 0
	case 'G', '`':
		s.moveTo(n-1, c.y)
	case 'H', 'f':
		s.address(s.parser.number(1, 1)-1, n-1)
	case 'd':
		s.address(c.x, n-1)
	case 'I':
		s.tab(n)
	case 'Z':
		s.tab(-n)
	case 'J':
		s.eraseScreen(s.parser.number(0, 0))
	case 'K':
		s.eraseLine(s.parser.number(0, 0))
	case 'X':
		s.edit(c.y).erase(c.x, min(c.x+n, s.cols), s.blank())
		c.wrap = false
	case '@':
		s.edit(c.y).insert(c.x, n, s.cols, s.blank())
		c.wrap = false
	case 'P':
		s.edit(c.y).remove(c.x, n, s.cols, s.blank())
		c.wrap = false
	case 'L', 'M':
		s.shiftLines(b == 'L', n)
	case 'S':
		s.scroll(n)
	case 'T':
		if len(s.parser.params) < 2 { // with more it is about the mouse
			s.scrollDown(s.top, n)
		}
	case 'b':
		for range min(n, s.cols) {
			if s.last != 0 {
				s.put(s.last)
			}
		}
	case 'g':
		s.clearTabs(s.parser.number(0, 0))
	case 'h', 'l':
		for i := range s.parser.params {
			if m := mode(-s.parser.number(i, 0)); m == modeInsert || m == modeNewline {
				s.set(m, b == 'h')
			}
		}
	case 'm':
		c.pen.change(s.parser.params)
	case 'r':
		s.region(n-1, s.parser.number(1, s.rows))
	case 's':
		s.save()
	case 'u':
		s.restore()
	}
}

// shiftLines inserts or deletes lines at the cursor, which must be in the region.
func (s *Screen) shiftLines(insert bool, n int) {
	y := s.cursor.y
	if y < s.top || y >= s.end {
		return
	}
	s.cursor.x, s.cursor.wrap = 0, false
	if insert {
		s.scrollDown(y, n)
		return
	}
	s.scrollUp(y, n) // what is deleted is not kept
}

func (s *Screen) region(top, end int) {
	end = min(end, s.rows)
	if top < 0 || end-top < 2 && s.rows > 1 {
		return
	}
	s.top, s.end = min(top, s.rows-1), end
	s.address(0, 0)
}

func (s *Screen) clearTabs(which int) {
	switch which {
	case 0:
		s.tabs[s.cursor.x] = false
	case 3:
		clear(s.tabs)
	}
}

func (s *Screen) eraseLine(which int) {
	from, end := 0, s.cols
	switch which {
	case 0:
		from = s.cursor.x
	case 1:
		end = s.cursor.x + 1
	case 2:
	default:
		return
	}
	s.edit(s.cursor.y).erase(from, end, s.blank())
	s.cursor.wrap = false
}

func (s *Screen) eraseScreen(which int) {
	from, end := 0, s.rows
	switch which {
	case 0:
		s.eraseLine(0)
		from = s.cursor.y + 1
	case 1:
		s.eraseLine(1)
		end = s.cursor.y
	case 2:
	case 3:
		s.history = history{}
		return
	default:
		return
	}
	for y := from; y < end; y++ {
		s.grid.lines[y] = s.blankLine()
	}
	s.cursor.wrap = false
}

// private does a control sequence of DEC's or xterm's own.
func (s *Screen) private(b byte) {
	switch b {
	case 'J':
		if n := s.parser.number(0, 0); n < 3 {
			s.eraseScreen(n)
		}
	case 'K':
		s.eraseLine(s.parser.number(0, 0))
	case 'h', 'l':
		for i := range s.parser.params {
			s.setPrivate(mode(s.parser.number(i, 0)), b == 'h')
		}
	}
}

func (s *Screen) setPrivate(m mode, on bool) {
	switch m {
	case modeOrigin:
		s.cursor.origin = on
		s.address(0, 0)
	case modeWrap:
		s.set(m, on)
		s.cursor.wrap = s.cursor.wrap && on
	case modeAltPlain, modeAltClear:
		s.show(on)
	case modeSaveCursor, modeAlt:
		if m == modeAlt && on == (s.grid == &s.alt) {
			return
		}
		if on {
			s.save()
		}
		if m == modeAlt {
			s.show(on)
		}
		if !on {
			s.restore()
		}
	default:
		if slices.Contains(passive, m) {
			s.set(m, on)
		}
	}
}

// command does an operating system command, of which only the title matters.
func (s *Screen) command(command []byte) {
	number, value, ok := bytes.Cut(command, []byte(";"))
	if ok && (string(number) == "0" || string(number) == "2") {
		s.title = strings.Map(func(r rune) rune {
			if !unicode.IsPrint(r) {
				return -1
			}
			return r
		}, strings.ToValidUTF8(string(value), ""))
	}
}
