package screen

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// text returns what the screen shows, a line for each row up to the last that
// is not blank, with the cursor's place.
func (s *Screen) text() string {
	var rows []string
	for _, l := range s.grid.lines {
		var b strings.Builder
		for _, c := range l.cut(s.cols) {
			if !c.half {
				b.Write(c.appendTo(nil))
			}
		}
		rows = append(rows, strings.TrimRight(b.String(), " "))
	}
	return fmt.Sprintf("%s @%d,%d", strings.TrimRight(strings.Join(rows, "|"), "|"), s.cursor.x, s.cursor.y)
}

// Each case is what a terminal of 10 by 4 shows after it got the input, as
// xterm does.
func TestShown(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"text", "hello", "hello @5,0"},
		{"lines", "one\r\ntwo", "one|two @3,1"},
		{"a newline keeps the column", "ab\ncd", "ab|  cd @4,1"},
		{"backspace", "abc\b\bX", "aXc @2,0"},
		{"tabs", "\tX\tY", "        XY @9,0"},
		{"back tabs", "\x1b[10G\x1b[ZX", "        X @9,0"},
		{"wrapping", "0123456789ab", "0123456789|ab @2,1"},
		{"wrapping waits for the next character", "0123456789\r\nx", "0123456789|x @1,1"},
		{"no wrapping", "\x1b[?7l0123456789ab", "012345678b @9,0"},
		{"scrolling", "1\r\n2\r\n3\r\n4\r\n5", "2|3|4|5 @1,3"},
		{"reverse index", "a\x1b[H\x1bMb", "b|a @1,0"},
		{"moving", "\x1b[2;3Hx\x1b[Ay\x1b[2Bz\x1b[3Dw", "   y|  x|  w z @3,2"},
		{"moving stays on the screen", "\x1b[99;99Hx\x1b[99A\x1b[99Dy", "y|||         x @1,0"},
		{"erase to the end of the line", "abcdef\x1b[3G\x1b[K", "ab @2,0"},
		{"erase to its beginning", "abcdef\x1b[3G\x1b[1K", "   def @2,0"},
		{"erase below", "a\r\nb\r\nc\x1b[2;1H\x1b[J", "a @0,1"},
		{"erase above", "a\r\nb\r\nc\x1b[2;1H\x1b[1J", "||c @0,1"},
		{"erase all", "a\r\nb\x1b[2J", " @1,1"},
		{"erase characters", "abcdef\x1b[2G\x1b[3X", "a   ef @1,0"},
		{"insert characters", "abcdef\x1b[2G\x1b[2@X", "aX bcdef @2,0"},
		{"delete characters", "abcdef\x1b[2G\x1b[2P", "adef @1,0"},
		{"insert mode", "abc\x1b[1G\x1b[4hX\x1b[4lY", "XYbc @2,0"},
		{"insert lines", "a\r\nb\r\nc\x1b[2H\x1b[L", "a||b|c @0,1"},
		{"delete lines", "a\r\nb\r\nc\x1b[1H\x1b[M", "b|c @0,0"},
		{"a region scrolls alone", "a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3H\n", "a|c||d @0,2"},
		{"origin mode", "\x1b[2;3r\x1b[?6h\x1b[Ha\x1b[9;1Hb", "|a|b @1,2"},
		{"save and restore", "\x1b[2;2H\x1b7\x1b[Hx\x1b8y", "x| y @2,1"},
		{"repeat", "ab\x1b[3b", "abbbb @5,0"},
		{"line drawing", "\x1b(0lqk\x1b(Bq", "┌─┐q @4,0"},
		{"shifts", "\x1b)0\x0eq\x0fq", "─q @2,0"},
		{"UTF-8", "äöü€", "äöü€ @4,0"},
		{"wide characters", "漢字x", "漢字x @5,0"},
		{"a wide character wraps whole", "012345678漢", "012345678|漢 @2,1"},
		{"half a wide character goes", "漢字\x1b[2Gx", " x字 @2,0"},
		{"half of it from the left", "漢字\x1b[1Gx", "x 字 @1,0"},
		{"half of it by deletion", "漢字\x1b[2G\x1b[P", " 字 @1,0"},
		{"combining marks", "e\u0301x", "e\u0301x @2,0"},
		{"no UTF-8", "a\xffb\xe2\x82c", "a\ufffdb\ufffdc @5,0"},
		{"the other screen", "main\x1b[?1049h\x1b[Halt", "alt @3,0"},
		{"and back", "main\x1b[?1049h\x1b[Halt\x1b[?1049l", "main @4,0"},
		{"titles are not shown", "a\x1b]0;title\x07b\x1b]2;other\x1b\\c", "abc @3,0"},
		{"other strings neither", "a\x1bPq#0;2\x1b\\b\x1b_Gx\x1b\\c", "abc @3,0"},
		{"what is not known is skipped", "a\x1b[>4;2m\x1b[?u\x1b[=1;2u\x1b[1$rb", "ab @2,0"},
		{"CAN ends a sequence", "a\x1b[3\x18b", "ab @2,0"},
		{"controls in a sequence", "ab\x1b[\b1Cx", "abx @3,0"},
		{"reset", "abc\x1b[2;3r\x1bcx", "x @1,0"},
		{"soft reset", "\x1b[4h\x1b[?6h\x1b[!pab\x1b[1Gx", "xb @1,0"},
		{"alignment", "\x1b#8\x1b[2J", " @0,0"},
	} {
		whole := New(10, 4)
		whole.Write([]byte(test.in))
		if got := whole.text(); got != test.want {
			t.Errorf("%s: %q shows %q, want %q", test.name, test.in, got, test.want)
		}
		pieces := New(10, 4)
		for i := range len(test.in) {
			pieces.Write([]byte{test.in[i]})
		}
		if got := pieces.text(); got != test.want {
			t.Errorf("%s, byte by byte: %q shows %q, want %q", test.name, test.in, got, test.want)
		}
	}
}

func TestPens(t *testing.T) {
	for in, want := range map[string]pen{
		"1;3;31":            {fg: palette | 1, style: bold | italic},
		"1;22":              {},
		"7;4;9;24":          {style: inverse | struck},
		"4:3":               {style: 3},
		"4;21":              {style: 2},
		"97;104":            {fg: palette | 15, bg: palette | 12},
		"38;5;200;1":        {fg: palette | 200, style: bold},
		"38;2;1;2;3;48;5;7": {fg: rgb | 0x010203, bg: palette | 7},
		"38:2::1:2:3":       {fg: rgb | 0x010203},
		"38:2:1:2:3":        {fg: rgb | 0x010203},
		"48:5:9;5":          {bg: palette | 9, style: blink},
		"58;5;1;2":          {style: faint},
		"31;":               {},
		"38;5;256":          {},
		"38":                {},
	} {
		s := New(10, 4)
		s.Write([]byte("\x1b[" + in + "m"))
		if got := s.cursor.pen; got != want {
			t.Errorf("%s: %+v, want %+v", in, got, want)
		}
		again := New(10, 4)
		again.Write(want.appendTo(nil))
		if got := again.cursor.pen; got != want {
			t.Errorf("%s, said again: %+v, want %+v", in, got, want)
		}
	}
}

func TestResize(t *testing.T) {
	s := New(10, 4)
	s.Write([]byte("0123456789\r\nb\r\nc\r\nd"))
	s.Resize(5, 2)
	if got, want := s.text(), "c|d @1,1"; got != want {
		t.Errorf("smaller: %q, want %q", got, want)
	}
	if got, want := s.history.lines, 2; len(got) != want {
		t.Errorf("%d lines in the scrollback, want %d: %q", len(got), want, got)
	}
	s.Resize(10, 4)
	if got, want := s.text(), "c|d @1,1"; got != want {
		t.Errorf("larger: %q, want %q", got, want)
	}

	s = New(10, 4)
	s.Write([]byte("0123456789\r\nabcdefghij\x1b[3;1H"))
	s.Resize(5, 4)
	if got, want := s.text(), "01234|abcde @0,2"; got != want {
		t.Errorf("narrower: %q, want %q", got, want)
	}
	s.Write([]byte("\x1b[2;2HX"))
	s.Resize(10, 4)
	if got, want := s.text(), "0123456789|aXcde @2,1"; got != want {
		t.Errorf("what was hidden: %q, want %q", got, want)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	s := New(80, 4)
	for i := range 3 * historyLines {
		fmt.Fprintf(s, "line %d\r\n", i)
	}
	if n := len(s.history.lines); n != historyLines {
		t.Errorf("%d lines are kept, want %d", n, historyLines)
	}
	if last := s.history.lines[historyLines-1]; !strings.Contains(last, fmt.Sprint("line ", 3*historyLines-4)) {
		t.Errorf("the last line kept is %q", last)
	}
	for range historyLines {
		fmt.Fprintf(s, "%s\r\n", strings.Repeat("\x1b[1mx\x1b[mx", 40))
	}
	if s.history.bytes > historyBytes {
		t.Errorf("%d bytes are kept, more than %d", s.history.bytes, historyBytes)
	}
	all := string(s.DrawAll(4))
	s.Write([]byte("\x1b[3J"))
	if again := s.DrawAll(4); len(again) > 4<<10 || len(all) < historyBytes/2 {
		t.Errorf("the scrollback was drawn in %d bytes, and in %d when it had been erased", len(all), len(again))
	}
}

func TestDrawAllScrollsTheHistoryAway(t *testing.T) {
	for _, lines := range []int{3, 6, 40} {
		s := New(20, 4)
		for i := range lines {
			fmt.Fprintf(s, "line %d\r\n", i)
		}
		for _, rows := range []int{4, 10} {
			other := New(20, rows)
			other.Write(s.DrawAll(rows))
			if got := other.text(); got != s.text() {
				t.Errorf("%d lines in %d rows: %q, want %q", lines, rows, got, s.text())
			}
			kept := strings.Join(other.history.lines, "\n")
			for i := range lines - 3 {
				if !strings.Contains(kept, fmt.Sprint("line ", i)) {
					t.Errorf("%d lines in %d rows: line %d is not in the scrollback: %q", lines, rows, i, kept)
				}
			}
		}
	}
}

// state is what drawing must say of a screen, and nothing that cannot be seen.
func (s *Screen) state() map[string]any {
	shown := func(g *grid) (rows []string) {
		for _, l := range g.lines {
			l = l.cut(s.cols)
			rows = append(rows, string(l.appendTo(nil, l.used())))
		}
		return rows
	}
	state := map[string]any{
		"main": shown(&s.main), "cursor": fmt.Sprintf("%+v", s.cursor), "saved": fmt.Sprintf("%+v", s.grid.saved),
		"region": [2]int{s.top, s.end}, "tabs": s.tabs, "keypad": s.keypad, "shape": s.shape, "title": s.title,
		"modes": fmt.Sprint(s.modes), "alt": s.grid == &s.alt,
	}
	if s.grid == &s.alt {
		state["alt"], state["main saved"] = shown(&s.alt), fmt.Sprintf("%+v", s.main.saved)
	}
	return state
}

// dirty is what a terminal may have been left with.
const dirty = "\x1b[3;1Hdirt\x1b[?1049h\x1b[2;3r\x1b[?6h\x1b[4h\x1b[31;1mmore\x1b(0\x0e\x1b[?1000h\x1b[?25l\x1b[?7l\x1b=\x1b[5 qx\x1b7\x1b]0;unfinished"

var drawn = []string{
	"", "text", "\x1b[31mred\x1b[44m on blue\x1b[K\r\nmore", "0123456789", "012345678漢", "漢字漢字漢\x1b[1;9H\x1b[P",
	"\x1b[2;3r\x1b[?6h\x1b[2;2H\x1b7\x1b[H", "main\x1b[?1049halt\x1b[?1000h\x1b[?2004h\x1b[?25l", "\x1b[3g\x1b[1;4H\x1bH\x1b=",
	"\x1b(0qqq\x1b)0\x0e\x1b7", "a\x1b[3", "a\x1b]0;half", "a\x1bP1234", "a\xe2\x82", "\x1b[4h\x1b[20h\x1b[?7l", "0123456789\x1b7\x1b[H",
	"\x1b[1;31m0123456789\x1b[m\x1b(0", "\x1b[?47hplain\x1b[2 q", "1\r\n2\r\n3\r\n4\r\n5\x1b[3b", "\x1b[5;", "a\x1b\x1b", "a\x1b]x\x1b",
}

// drawsTheSame draws a screen that got in on a terminal that is not clean, and
// compares. What comes after that, more, must have the same effect on both.
func drawsTheSame(t *testing.T, in, more string) {
	t.Helper()
	s, other := New(10, 4), New(10, 4)
	s.Write([]byte(in))
	other.Write([]byte(dirty))
	other.Write(s.Draw())
	if diff := cmp.Diff(s.state(), other.state()); diff != "" {
		t.Fatalf("%q, drawn as %q:\n%s", in, s.Draw(), diff)
	}
	s.last, other.last = 0, 0
	s.Write([]byte(more))
	other.Write([]byte(more))
	if diff := cmp.Diff(s.state(), other.state()); diff != "" {
		t.Fatalf("%q, drawn as %q, and then %q:\n%s", in, s.Draw(), more, diff)
	}
}

func TestDraw(t *testing.T) {
	for _, in := range drawn {
		drawsTheSame(t, in, "\x07x\x1b8y")
	}
}

func TestRedraw(t *testing.T) {
	for _, in := range drawn {
		s, other := New(10, 4), New(15, 6)
		s.Write([]byte(in))
		other.Write([]byte(dirty + "\x07"))
		other.Write([]byte("\x1b[6;1Hbelow"))
		other.Write(s.Redraw())
		if other.text() != s.text() {
			t.Errorf("%q is drawn as %q, want %q", in, other.text(), s.text())
		}
	}
}

// Whatever programs write, in whatever pieces, and however the window changes
// meanwhile: another terminal can be made to show it.
func FuzzScreen(f *testing.F) {
	for _, in := range drawn {
		f.Add(in, in, uint8(12), uint8(3))
	}
	f.Fuzz(func(t *testing.T, in, more string, cols, rows uint8) {
		if len(in)+len(more) > 1024 {
			t.Skip()
		}
		drawsTheSame(t, in, more)
		s := New(10, 4)
		s.Write([]byte(in))
		s.Resize(int(cols%40), int(rows%20))
		s.Write([]byte(more))
		s.Redraw()
		s.Resize(80, 24)
		s.Write([]byte(in))
		other := New(80, 24)
		other.Write(s.Draw())
		if diff := cmp.Diff(s.state(), other.state()); diff != "" {
			t.Fatalf("%q, %d by %d, %q:\n%s", in, cols, rows, more, diff)
		}
	})
}
