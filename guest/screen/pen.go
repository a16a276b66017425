package screen

import "strconv"

// change does a select-graphic-rendition sequence.
func (p *pen) change(params []param) {
	if len(params) == 0 {
		*p = pen{}
		return
	}
	for i := 0; i < len(params); {
		group := params[i : i+1]
		for i++; i < len(params) && params[i].sub; i++ {
			group = group[:len(group)+1]
		}
		n := max(group[0].n, 0)
		if n == 38 || n == 48 || n == 58 {
			var c color
			var ok bool
			if len(group) > 1 {
				c, ok = subColor(group[1:])
			} else {
				var used int
				c, used, ok = paramColor(params[i:])
				i += used
			}
			switch {
			case ok && n == 38:
				p.fg = c
			case ok && n == 48:
				p.bg = c
			}
			continue
		}
		p.rendition(n, group[1:])
	}
}

// rendition does one number of those that are no color of 256.
func (p *pen) rendition(n int, sub []param) {
	switch {
	case n == 0:
		*p = pen{}
	case n == 4:
		p.style = p.style&^underlines | 1
		if len(sub) > 0 {
			p.style = p.style&^underlines | style(min(max(sub[0].n, 0), 5))
		}
	case n == 21:
		p.style = p.style&^underlines | 2
	case n == 24:
		p.style &^= underlines
	case n >= 30 && n <= 37:
		p.fg = palette | color(n-30)
	case n == 39:
		p.fg = 0
	case n >= 40 && n <= 47:
		p.bg = palette | color(n-40)
	case n == 49:
		p.bg = 0
	case n >= 90 && n <= 97:
		p.fg = palette | color(n-90+8)
	case n >= 100 && n <= 107:
		p.bg = palette | color(n-100+8)
	}
	for _, f := range flags {
		switch n {
		case f.on:
			p.style |= f.style
		case f.off:
			p.style &^= f.style
		}
	}
}

// flags are the styles that one number sets and another takes back.
var flags = []struct {
	style   style
	on, off int
}{{bold, 1, 22}, {faint, 2, 22}, {italic, 3, 23}, {blink, 5, 25}, {inverse, 7, 27}, {hidden, 8, 28}, {struck, 9, 29}, {overline, 53, 55}}

// subColor is a color as 38:5:N, 38:2:R:G:B or 38:2::R:G:B has it.
func subColor(sub []param) (color, bool) {
	switch {
	case sub[0].n == 5 && len(sub) > 1:
		return indexed(sub[1].n)
	case sub[0].n == 2 && len(sub) > 4:
		return mixed(sub[2:5])
	case sub[0].n == 2 && len(sub) == 4:
		return mixed(sub[1:4])
	}
	return 0, false
}

// paramColor is a color as 38;5;N or 38;2;R;G;B has it. used is how many of params it took.
func paramColor(params []param) (c color, used int, ok bool) {
	switch {
	case len(params) > 1 && params[0].n == 5:
		c, ok = indexed(params[1].n)
		return c, 2, ok
	case len(params) > 3 && params[0].n == 2:
		c, ok = mixed(params[1:4])
		return c, 4, ok
	}
	return 0, len(params), false
}

func indexed(n int) (color, bool) {
	n = max(n, 0)
	return palette | color(n), n <= 255
}

func mixed(parts []param) (c color, ok bool) {
	for _, p := range parts {
		if p.n > 255 {
			return 0, false
		}
		c = c<<8 | color(max(p.n, 0))
	}
	return rgb | c, true
}

// appendTo appends the sequence that makes any pen this one.
func (p pen) appendTo(dst []byte) []byte {
	dst = append(dst, "\x1b[0"...)
	for _, f := range flags {
		if p.style&f.style != 0 {
			dst = append(dst, ';')
			dst = strconv.AppendInt(dst, int64(f.on), 10)
		}
	}
	switch kind := p.style & underlines; {
	case kind == 1:
		dst = append(dst, ";4"...)
	case kind > 1:
		dst = append(dst, ";4:"...)
		dst = strconv.AppendInt(dst, int64(kind), 10)
	}
	dst = p.fg.appendTo(dst, 30)
	dst = p.bg.appendTo(dst, 40)
	return append(dst, 'm')
}

// appendTo appends a color; base is 30 for the foreground and 40 for the background.
func (c color) appendTo(dst []byte, base int64) []byte {
	number := func(n int64) {
		dst = append(dst, ';')
		dst = strconv.AppendInt(dst, n, 10)
	}
	n := int64(c &^ (palette | rgb))
	switch {
	case c&rgb != 0:
		number(base + 8)
		number(2)
		number(n >> 16)
		number(n >> 8 & 255)
		number(n & 255)
	case c&palette == 0:
	case n < 8:
		number(base + n)
	case n < 16:
		number(base + 60 + n - 8)
	default:
		number(base + 8)
		number(5)
		number(n)
	}
	return dst
}
