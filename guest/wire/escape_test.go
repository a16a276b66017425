package wire

import (
	"bytes"
	"testing"
)

// decodeAll decodes buf in pieces, and returns all data with, for each place
// where decoding stopped, why and after how much data.
func decodeAll(buf []byte, piece int) (data []byte, stops [][2]int) {
	var d decoder
	for len(buf) > 0 {
		n := min(piece, len(buf))
		part := bytes.Clone(buf[:n])
		buf = buf[n:]
		for len(part) > 0 {
			got, rest, why := d.decode(part)
			data = append(data, got...)
			if why != atEnd {
				stops = append(stops, [2]int{int(why), len(data)})
			}
			part = rest
		}
	}
	return data, stops
}

func TestDecode(t *testing.T) {
	const E, L, B = esc, escByte, escBegin
	for _, test := range []struct {
		name  string
		in    []byte
		data  string
		stops [][2]int
	}{
		{"nothing", nil, "", nil},
		{"plain", []byte("abc"), "abc", nil},
		{"escaped", []byte{'a', E, L, 'b'}, "a\xF5b", nil},
		{"only escapes", []byte{E, L, E, L}, "\xF5\xF5", nil},
		{"begin", []byte{'a', E, B, 'b'}, "ab", [][2]int{{int(atBegin), 1}}},
		{"begin after a cut escape", []byte{'a', E, E, B, 'b'}, "ab", [][2]int{{int(atBegin), 1}}},
		{"begin after two cut escapes", []byte{E, E, E, B}, "", [][2]int{{int(atBegin), 0}}},
		{"begin after a cut begin", []byte{E, B, E, B}, "", [][2]int{{int(atBegin), 0}, {int(atBegin), 0}}},
		{"no such escape", []byte{'a', E, 'x', 'b'}, "ab", [][2]int{{int(atError), 1}}},
		{"data after a cut escape", []byte{'a', E, E, L, 'b'}, "ab", [][2]int{{int(atError), 1}}},
	} {
		for piece := 1; piece <= max(1, len(test.in)); piece++ {
			data, stops := decodeAll(test.in, piece)
			if string(data) != test.data {
				t.Errorf("%s in pieces of %d: data %q, want %q", test.name, piece, data, test.data)
			}
			if len(stops) != len(test.stops) {
				t.Errorf("%s in pieces of %d: stops %v, want %v", test.name, piece, stops, test.stops)
				continue
			}
			for i := range stops {
				if stops[i] != test.stops[i] {
					t.Errorf("%s in pieces of %d: stops %v, want %v", test.name, piece, stops, test.stops)
				}
			}
		}
	}
}

// Whatever comes, in whatever pieces, decodes to the same.
func FuzzDecodeAnything(f *testing.F) {
	f.Add([]byte{'a', esc, escByte, esc, esc, escBegin, 'b'}, 3)
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		if piece < 1 {
			piece = 1
		}
		whole, wholeStops := decodeAll(in, len(in)+1)
		data, stops := decodeAll(in, piece)
		if !bytes.Equal(data, whole) || len(stops) != len(wholeStops) {
			t.Fatalf("in pieces of %d: %q with stops %v; at once: %q with stops %v", piece, data, stops, whole, wholeStops)
		}
	})
}

// Data comes out as it went in, and never looks like a beginning.
func FuzzEscape(f *testing.F) {
	f.Add([]byte("plain"), 1)
	f.Add([]byte{esc, escBegin, esc, escByte, esc}, 2)
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		if piece < 1 {
			piece = 1
		}
		out, stops := decodeAll(appendEscaped(nil, in), piece)
		if !bytes.Equal(out, in) || stops != nil {
			t.Fatalf("%q came out as %q with stops %v", in, out, stops)
		}
	})
}
