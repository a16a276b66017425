package screen

import (
	"slices"
	"strconv"
	"unicode/utf8"
)

const (
	// historyLines and historyBytes bound the scrollback.
	historyLines = 1000
	historyBytes = 128 << 10
)

// A history is the lines that left the main screen at its top, the oldest
// first, as they are drawn.
type history struct {
	lines []string
	bytes int
	drawn []byte // room for the next
}

// add adds what of l is seen in as many columns.
func (h *history) add(l line, cols int) {
	if len(l) > cols || l.used() > 0 && l[l.used()-1].wide {
		l = l.cut(cols)
	}
	h.drawn = append(l.appendTo(h.drawn[:0], l.used()), "\x1b[0m"...)
	drawn := string(h.drawn)
	h.lines = append(h.lines, drawn)
	h.bytes += len(drawn)
	drop := 0
	for ; len(h.lines)-drop > historyLines || h.bytes > historyBytes; drop++ {
		h.bytes -= len(h.lines[drop])
		h.lines[drop] = ""
	}
	h.lines = h.lines[drop:]
}

// toReset makes a terminal in any state, in the middle of a sequence or not,
// one that can be drawn on.
const toReset = "\x18\x1b[!p\x1b[r\x1b(B\x1b)B\x1b*B\x1b+B\x0f\x1b[?6l\x1b[?7h\x1b[4l\x1b[20l\x1b[0m\x1b>\x1b[0 q\x1b[H"

const clearAll = "\x1b[H\x1b[2J"

// Draw returns what draws the screen on a terminal of its size, with the modes
// that programs have set in it. What programs write next may follow. What that
// terminal showed is cleared.
func (s *Screen) Draw() []byte { return s.draw(0) }

// DrawAll is Draw for a terminal of as many rows that has shown nothing of this
// screen yet: the scrollback comes first, and moves into the terminal's own.
func (s *Screen) DrawAll(rows int) []byte { return s.draw(max(rows, 1)) }

func (s *Screen) draw(rows int) []byte {
	out := s.appendReset(append([]byte(nil), "\x18\x1b[?1049l"...))
	out = append(out, clearAll...)
	if rows > 0 {
		out = s.history.appendTo(out, rows)
	}
	out = s.main.appendTo(out, s.cols)
	if s.grid == &s.alt {
		out = s.appendCursor(out, &s.main, s.main.saved, 0)
		out = append(out, "\x1b[?1049h\x1b[!p\x1b[0m"+clearAll...)
		out = s.alt.appendTo(out, s.cols)
	}
	if saved := s.grid.saved; saved != (cursor{}) {
		out = s.appendCursor(out, s.grid, saved, 0)
		out = append(out, "\x1b7\x1b[?6l"...)
	}
	out = s.appendTabs(out)
	top := 0
	if s.top != 0 || s.end != s.rows {
		top = s.top
		out = appendSequence(out, 'r', s.top+1, s.end)
	}
	out = s.appendCursor(out, s.grid, s.cursor, top)
	out = s.appendModes(out)
	return append(out, s.parser.raw...)
}

// Redraw returns what draws the screen on a terminal of another size that gets
// nothing else any more, for what programs write is not meant for it. It does not flicker.
func (s *Screen) Redraw() []byte {
	out := s.appendReset([]byte("\x1b[?2026h"))
	for y, l := range s.grid.lines {
		l = l.cut(s.cols)
		out = l.appendTo(appendSequence(out, 'H', y+1, 1), l.used())
		out = append(out, "\x1b[0m\x1b[K"...)
	}
	out = append(out, "\x1b[J"...) // below the last row
	out = appendSequence(out, 'H', s.cursor.y+1, s.cursor.x+1)
	out = s.appendModes(out)
	return append(out, "\x1b[?2026l"...)
}

// appendReset appends what makes the modes of a terminal what they are at first.
func (s *Screen) appendReset(out []byte) []byte {
	out = append(out, toReset...)
	for _, m := range passive {
		if !slices.Contains(onAtFirst, m) {
			out = appendMode(out, m, false)
		}
	}
	return out
}

// appendModes appends what sets the modes that are not as at first.
func (s *Screen) appendModes(out []byte) []byte {
	if s.keypad {
		out = append(out, "\x1b="...)
	}
	if s.shape != 0 {
		out = append(strconv.AppendInt(append(out, "\x1b["...), int64(s.shape), 10), " q"...)
	}
	if s.title != "" {
		out = append(append(append(out, "\x1b]2;"...), s.title...), "\x1b\\"...)
	}
	var changed []mode
	for m := range s.modes {
		changed = append(changed, m)
	}
	slices.Sort(changed)
	for _, m := range changed {
		out = appendMode(out, m, s.on(m))
	}
	return out
}

func appendMode(out []byte, m mode, on bool) []byte {
	out = append(out, "\x1b["...)
	if m > 0 {
		out = append(out, '?')
	}
	out = strconv.AppendInt(out, int64(max(m, -m)), 10)
	if on {
		return append(out, 'h')
	}
	return append(out, 'l')
}

// appendTabs appends what sets the tab stops, if they are not where they always are.
func (s *Screen) appendTabs(out []byte) []byte {
	usual := true
	for x, stop := range s.tabs {
		usual = usual && stop == (x > 0 && x%8 == 0)
	}
	if usual {
		return out
	}
	out = append(out, "\x1b[3g"...)
	for x, stop := range s.tabs {
		if stop {
			out = append(appendSequence(out, 'G', x+1), "\x1bH"...)
		}
	}
	return out
}

// appendCursor appends what gives a terminal that shows g this cursor. Its
// scrolling region begins at top.
func (s *Screen) appendCursor(out []byte, g *grid, c cursor, top int) []byte {
	out = append(out, "\x1b(B\x0f"...)
	y := c.y
	if c.origin {
		out = append(out, "\x1b[?6h"...)
		y -= top
	}
	x := c.x
	l := g.lines[c.y].cut(s.cols)
	var last cell
	if c.wrap { // printing what is in the last column again makes it wrap
		l.reach(s.cols)
		if last = l[x]; last.half {
			x--
			last = l[x]
		}
	}
	out = appendSequence(out, 'H', y+1, x+1)
	if c.wrap {
		out = last.appendTo(last.pen.appendTo(out))
	}
	out = c.pen.appendTo(out)
	for i, set := range c.charsets {
		if set == drawing {
			out = append(out, 0x1B, "()*+"[i], '0')
		} else {
			out = append(out, 0x1B, "()*+"[i], 'B')
		}
	}
	return append(out, [...]string{"\x0f", "\x0e", "\x1bn", "\x1bo"}[c.shift]...)
}

// appendTo appends what puts the history into the scrollback of a terminal
// that is blank and has as many rows. It is blank after that.
func (h *history) appendTo(out []byte, rows int) []byte {
	for _, l := range h.lines {
		out = append(append(out, l...), "\r\n"...)
	}
	if len(h.lines) > 0 {
		out = appendSequence(out, 'H', rows, 1)
		for range min(len(h.lines), rows-1) {
			out = append(out, '\n')
		}
	}
	return append(out, clearAll...)
}

// appendTo appends what draws g on a terminal that is blank.
func (g *grid) appendTo(out []byte, cols int) []byte {
	for y, l := range g.lines {
		if l = l.cut(cols); l.used() > 0 {
			out = l.appendTo(appendSequence(out, 'H', y+1, 1), l.used())
		}
	}
	return append(out, "\x1b[0m"...)
}

// used is how many cells there are up to the last that is not blank.
func (l line) used() int {
	n := len(l)
	for n > 0 && l[n-1] == (cell{}) {
		n--
	}
	return n
}

// appendTo appends what draws the first n cells. It leaves the pen as it happens to be.
func (l line) appendTo(out []byte, n int) []byte {
	var p pen
	out = p.appendTo(out)
	for _, c := range l[:n] {
		if c.half {
			continue
		}
		if c.pen != p {
			p = c.pen
			out = p.appendTo(out)
		}
		out = c.appendTo(out)
	}
	return out
}

func (c cell) appendTo(out []byte) []byte {
	if c.r == 0 {
		return append(out, ' ')
	}
	out = utf8.AppendRune(out, c.r)
	for _, mark := range c.marks {
		if mark != 0 {
			out = utf8.AppendRune(out, mark)
		}
	}
	return out
}

// appendSequence appends a control sequence with numbers.
func appendSequence(out []byte, final byte, numbers ...int) []byte {
	out = append(out, "\x1b["...)
	for i, n := range numbers {
		if i > 0 {
			out = append(out, ';')
		}
		out = strconv.AppendInt(out, int64(n), 10)
	}
	return append(out, final)
}
