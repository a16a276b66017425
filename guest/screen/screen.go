// Package screen keeps what a terminal shows: it takes what programs write to
// the terminal, and can draw the same on another one at any time.
//
// It understands what xterm does of the control sequences that programs use
// today. It answers nothing: questions that a program asks of its terminal are
// for the terminals that somebody looks at. What it does not know it skips.
package screen

import "slices"

// A Screen is a terminal's state. It is not for use by several goroutines at
// once. Its memory grows with what is on it, up to its size, and a bounded
// scrollback.
type Screen struct {
	cols, rows int
	main, alt  grid
	grid       *grid // the one that shows
	cursor     cursor
	top, end   int // of the scrolling region: its rows are top <= y < end
	tabs       []bool
	modes      map[mode]bool // those that differ from the start
	keypad     bool          // sends application codes
	shape      int           // of the cursor, as DECSCUSR has it
	title      string
	history    history
	last       rune // printed, for REP
	parser     parser
}

// A grid is one of a terminal's two screens.
type grid struct {
	lines []line // from the top, as many as the screen has rows
	saved cursor // by DECSC
}

// A cursor is where and how the next character is printed.
type cursor struct {
	x, y     int
	wrap     bool // the last column was printed to: the next character wraps
	pen      pen
	origin   bool // rows count from the scrolling region's top
	charsets [4]charset
	shift    int // which of charsets is in use
}

// A charset is what the bytes of ASCII mean.
type charset byte

const (
	ascii   charset = iota
	drawing         // DEC special graphics: lines and corners
)

// A mode is a switch that programs set: a DEC private one, or, negative, an ANSI one.
type mode int

const (
	modeInsert      mode = -4
	modeNewline     mode = -20
	modeCursorKeys  mode = 1
	modeReverse     mode = 5
	modeOrigin      mode = 6
	modeWrap        mode = 7
	modeCursorBlink mode = 12
	modeCursor      mode = 25
	modeAltPlain    mode = 47
	modeAltClear    mode = 1047
	modeSaveCursor  mode = 1048
	modeAlt         mode = 1049
)

// onAtFirst are the modes that a terminal starts with.
var onAtFirst = []mode{modeWrap, modeCursor}

// passive are the modes that change nothing here, but in the terminal that
// somebody looks at: keys, mouse, focus, paste.
var passive = []mode{
	modeCursorKeys, modeReverse, modeCursorBlink, modeCursor,
	9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 2004,
}

// New returns an empty screen of a size, at least one cell.
func New(cols, rows int) *Screen {
	s := &Screen{cols: max(cols, 1), rows: max(rows, 1)}
	s.reset()
	return s
}

// reset makes everything as it is at first, except the history.
func (s *Screen) reset() {
	s.main, s.alt = grid{lines: make([]line, s.rows)}, grid{lines: make([]line, s.rows)}
	s.grid = &s.main
	s.cursor = cursor{}
	s.top, s.end = 0, s.rows
	s.tabs = nil
	s.growTabs()
	s.modes = map[mode]bool{}
	s.keypad, s.shape, s.title, s.last = false, 0, "", 0
}

// growTabs makes the stops of columns that are new.
func (s *Screen) growTabs() {
	for x := len(s.tabs); x < s.cols; x++ {
		s.tabs = append(s.tabs, x > 0 && x%8 == 0)
	}
	s.tabs = s.tabs[:s.cols]
}

// Resize gives the screen another size, at least one cell. Lines do not flow
// anew: what is too wide is hidden until it fits again or its line is changed,
// and what is too high moves into the scrollback.
func (s *Screen) Resize(cols, rows int) {
	s.cols, rows = max(cols, 1), max(rows, 1)
	for _, g := range []*grid{&s.main, &s.alt} {
		excess := len(g.lines) - rows
		if g == s.grid {
			excess = min(max(s.cursor.y+1-rows, 0), max(excess, 0))
		} else {
			excess = min(max(g.saved.y+1-rows, 0), max(excess, 0))
		}
		if g == &s.main {
			for _, l := range g.lines[:max(excess, 0)] {
				s.history.add(l, s.cols)
			}
		}
		g.lines = slices.Clone(g.lines[excess:])
		g.lines = append(g.lines, make([]line, max(rows-len(g.lines), 0))...)[:rows]
		g.saved.y -= excess
		if g == s.grid {
			s.cursor.y -= excess
		}
	}
	s.rows = rows
	s.top, s.end = 0, rows
	s.growTabs()
	for _, c := range []*cursor{&s.cursor, &s.main.saved, &s.alt.saved} {
		c.x, c.y = min(c.x, s.cols-1), min(max(c.y, 0), s.rows-1)
		c.wrap = false
	}
}

// on reports whether a mode is set.
func (s *Screen) on(m mode) bool { return s.modes[m] != slices.Contains(onAtFirst, m) }

// set sets or resets a mode.
func (s *Screen) set(m mode, on bool) {
	if on == slices.Contains(onAtFirst, m) {
		delete(s.modes, m)
	} else {
		s.modes[m] = true
	}
}

// edit returns a line of the grid that shows, to change it. What of it was
// hidden is lost.
func (s *Screen) edit(y int) *line {
	l := &s.grid.lines[y]
	if len(*l) > s.cols {
		*l = l.cut(s.cols)
	}
	return l
}

// put prints one character.
func (s *Screen) put(r rune) {
	if s.cursor.charsets[s.cursor.shift] == drawing {
		r = graphic(r)
	}
	width := widthOf(r)
	if width == 0 {
		s.combine(r)
		return
	}
	s.last = r
	if width > s.cols {
		return
	}
	c := &s.cursor
	if c.wrap || c.x+width > s.cols {
		if s.on(modeWrap) {
			c.x = 0
			s.index()
		} else {
			c.x = s.cols - width
		}
		c.wrap = false
	}
	l := s.edit(c.y)
	if len(s.modes) > 0 && s.on(modeInsert) {
		l.insert(c.x, width, s.cols, s.blank())
	}
	l.set(c.x, r, width, c.pen)
	if c.x += width; c.x >= s.cols {
		c.x, c.wrap = s.cols-1, s.on(modeWrap)
	}
}

// combine adds a mark to the character before the cursor.
func (s *Screen) combine(r rune) {
	x := s.cursor.x
	if !s.cursor.wrap {
		x--
	}
	l := s.edit(s.cursor.y)
	if x >= 0 && x < len(*l) && (*l)[x].half {
		x--
	}
	if x < 0 || x >= len(*l) || (*l)[x].r == 0 {
		return
	}
	for i, mark := range (*l)[x].marks {
		if mark == 0 {
			(*l)[x].marks[i] = r
			return
		}
	}
}

// blank is what erased cells become.
func (s *Screen) blank() cell { return cell{pen: pen{bg: s.cursor.pen.bg}} }

// index moves the cursor down a row, and scrolls if that leaves the region.
func (s *Screen) index() {
	switch {
	case s.cursor.y == s.end-1:
		s.scroll(1)
	case s.cursor.y < s.rows-1:
		s.cursor.y++
	}
}

// scroll moves the region up by n rows. What leaves the main screen at its top is kept.
func (s *Screen) scroll(n int) {
	n = min(n, s.end-s.top)
	if s.top == 0 && s.grid == &s.main {
		for _, l := range s.main.lines[:n] {
			s.history.add(l, s.cols)
		}
	}
	s.scrollUp(s.top, n)
}

// scrollUp moves the rows from y to the end of the region up by n.
func (s *Screen) scrollUp(y, n int) {
	n = min(n, s.end-y)
	region := s.grid.lines[y:s.end]
	gone := slices.Clone(region[:n])
	copy(region, region[n:])
	for i, l := range gone { // whose memory is used again
		l = l[:0]
		l.erase(0, s.cols, s.blank())
		region[len(region)-1-i] = l
	}
}

// scrollDown moves the rows from y to the end of the region down by n.
func (s *Screen) scrollDown(y, n int) {
	n = min(n, s.end-y)
	region := s.grid.lines[y:s.end]
	copy(region[n:], region)
	for i := range n {
		region[i] = s.blankLine()
	}
}

func (s *Screen) blankLine() line {
	var l line
	l.erase(0, s.cols, s.blank())
	return l
}

// moveTo puts the cursor somewhere on the screen.
func (s *Screen) moveTo(x, y int) {
	s.cursor.x, s.cursor.y = min(max(x, 0), s.cols-1), min(max(y, 0), s.rows-1)
	s.cursor.wrap = false
}

// address puts the cursor where a program means, whose rows may count from the region's top.
func (s *Screen) address(x, y int) {
	if s.cursor.origin {
		s.moveTo(x, min(max(y, 0)+s.top, s.end-1))
		return
	}
	s.moveTo(x, y)
}

// up and down move the cursor, but not out of the region if it is in it.
func (s *Screen) up(n int) {
	limit := 0
	if s.cursor.y >= s.top {
		limit = s.top
	}
	s.moveTo(s.cursor.x, max(s.cursor.y-n, limit))
}

func (s *Screen) down(n int) {
	limit := s.rows - 1
	if s.cursor.y < s.end {
		limit = s.end - 1
	}
	s.moveTo(s.cursor.x, min(s.cursor.y+n, limit))
}

// show switches to the other screen, which is blank then, or back.
func (s *Screen) show(alt bool) {
	if alt == (s.grid == &s.alt) {
		return
	}
	s.cursor.wrap = false
	if s.grid = &s.main; !alt {
		return
	}
	s.alt = grid{lines: make([]line, s.rows)}
	s.grid = &s.alt
	for y := range s.alt.lines {
		s.alt.lines[y] = s.blankLine()
	}
}

func (s *Screen) save() { s.grid.saved = s.cursor }

func (s *Screen) restore() {
	s.cursor = s.grid.saved
	if s.cursor.origin {
		s.cursor.y = min(max(s.cursor.y, s.top), s.end-1)
	}
	s.cursor.wrap = s.cursor.wrap && s.cursor.x == s.cols-1
}
