package wire

import "bytes"

// In the stream, the byte esc announces one of two things: that esc itself was
// meant, or that a new connection begins here. So a beginning is recognised
// wherever the bytes before it were cut, and no data can look like one.
const (
	esc      = 0xF5 // in no UTF-8 text, and rare elsewhere
	escByte  = 0x00 // esc escByte: the byte esc
	escBegin = 0x01 // esc escBegin: a new connection
)

// appendEscaped appends data to dst as it goes over the stream.
func appendEscaped(dst, data []byte) []byte {
	for {
		i := bytes.IndexByte(data, esc)
		if i < 0 {
			return append(dst, data...)
		}
		dst = append(dst, data[:i]...)
		dst = append(dst, esc, escByte)
		data = data[i+1:]
	}
}

// A stop is why decoding stopped before the end of the input.
type stop int

const (
	atEnd   stop = iota // it did not
	atBegin             // a new connection begins after it
	atError             // no such escape
)

// A decoder takes escapes out of a stream that comes in pieces.
type decoder struct {
	escs int // of the last bytes: 0, 1, or 2 for more than one, which only a cut leaves
}

// decode replaces buf by the data in it and returns that, with what of buf was
// not looked at because decoding stopped.
func (d *decoder) decode(buf []byte) (data, rest []byte, why stop) {
	n := 0 // of buf is data
	for i := 0; i < len(buf); {
		if d.escs == 0 {
			end := bytes.IndexByte(buf[i:], esc)
			if end < 0 {
				n += copy(buf[n:], buf[i:])
				break
			}
			n += copy(buf[n:], buf[i:i+end])
			i += end + 1
			d.escs = 1
			continue
		}
		b := buf[i]
		i++
		switch {
		case b == esc:
			d.escs = 2
			continue
		case b == escByte && d.escs == 1:
			buf[n] = esc
			n++
			d.escs = 0
		case b == escBegin:
			d.escs = 0
			return buf[:n], buf[i:], atBegin
		default:
			d.escs = 0
			return buf[:n], buf[i:], atError
		}
	}
	return buf[:n], nil, atEnd
}
