package screen

import (
	"unicode"

	"golang.org/x/text/width"
)

// A line is the cells of a row that were written to; those after them are blank.
// It may be longer than the screen is wide: the rest is hidden.
type line []cell

// A cell is a place for one character.
type cell struct {
	r     rune // 0 is blank
	marks [2]rune
	pen   pen
	wide  bool // r takes the next cell, too
	half  bool // the cell is taken by the one before
}

// A pen is how characters look.
type pen struct {
	fg, bg color
	style  style
}

// A color is 0 for the terminal's own, or a number of its palette, or red,
// green and blue.
type color uint32

const (
	palette color = 1 << 24
	rgb     color = 2 << 24
)

// A style is a set of flags, and in its lowest bits the kind of underline.
type style uint16

const (
	underlines style = 7 // 0 is none, 1 single, 2 double, 3 curly, 4 dotted, 5 dashed
	bold       style = 8 << iota
	faint
	italic
	blink
	inverse
	hidden
	struck
	overline
)

// widthOf is how many cells a character takes: 0 if it goes onto the one before.
func widthOf(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	}
	if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// graphics are the DEC special graphics from '`' on.
var graphics = []rune("◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")

func graphic(r rune) rune {
	if i := int(r) - '`'; i >= 0 && i < len(graphics) {
		return graphics[i]
	}
	return r
}

// cut returns a copy with at most n cells, in which no character is cut in half.
func (l line) cut(n int) line {
	l = append(line(nil), l[:min(n, len(l))]...)
	if len(l) > 0 && l[len(l)-1].wide {
		l[len(l)-1] = cell{pen: l[len(l)-1].pen}
	}
	return l
}

// reach makes the line at least n cells long.
func (l *line) reach(n int) {
	if n <= cap(*l) {
		for len(*l) < n {
			*l = append(*l, cell{})
		}
		return
	}
	longer := make(line, n, n+min(n, 64)+8)
	copy(longer, *l)
	*l = longer
}

// part makes sure that no character reaches across the left edge of cell x.
func (l *line) part(x int) {
	if x <= 0 || x >= len(*l) || !(*l)[x].half {
		return
	}
	(*l)[x-1] = cell{pen: (*l)[x-1].pen}
	(*l)[x] = cell{pen: (*l)[x].pen}
}

// set puts a character at x.
func (l *line) set(x int, r rune, width int, p pen) {
	l.reach(x + width)
	l.part(x)
	l.part(x + width)
	if r == ' ' {
		r = 0
	}
	(*l)[x] = cell{r: r, pen: p, wide: width == 2}
	if width == 2 {
		(*l)[x+1] = cell{pen: p, half: true}
	}
}

// erase makes cells from x to end blank.
func (l *line) erase(x, end int, blank cell) {
	if x >= end {
		return
	}
	if blank == (cell{}) { // nothing need be there to show it
		end = min(end, len(*l))
		if x >= end {
			return
		}
	}
	l.reach(end)
	l.part(x)
	l.part(end)
	for i := x; i < end; i++ {
		(*l)[i] = blank
	}
	if end == len(*l) && blank == (cell{}) {
		*l = (*l)[:x]
	}
}

// insert moves the cells from x right by n; what leaves the screen is lost.
func (l *line) insert(x, n, cols int, blank cell) {
	n = min(n, cols-x)
	l.part(x)
	if x < len(*l) {
		l.reach(min(len(*l)+n, cols))
		copy((*l)[x+n:], (*l)[x:])
		if last := &(*l)[len(*l)-1]; last.wide {
			*last = cell{pen: last.pen}
		}
	}
	l.overwrite(x, x+n, blank)
}

// remove moves the cells after the n from x left by n.
func (l *line) remove(x, n, cols int, blank cell) {
	n = min(n, cols-x)
	l.part(x)
	l.part(x + n)
	if x < len(*l) {
		if blank != (cell{}) {
			l.reach(cols)
		}
		kept := copy((*l)[x:], (*l)[min(x+n, len(*l)):])
		*l = (*l)[:x+kept]
	}
	l.erase(cols-n, cols, blank)
}

// overwrite is erase for cells of which none belongs to a character any more.
func (l *line) overwrite(x, end int, blank cell) {
	if blank == (cell{}) {
		end = min(end, len(*l))
	}
	l.reach(end)
	for i := x; i < end; i++ {
		(*l)[i] = blank
	}
}
