package image

import (
	"encoding/binary"
	"errors"
)

// lz4Magic begins the "legacy" LZ4 stream, which is what the kernel is compressed with.
const lz4Magic = 0x184c2102

// maxRatio is how many times larger than itself a byte can become.
const maxRatio = 255

var errLZ4 = errors.New("damaged LZ4 data")

// unlz4 decompresses what the kernel's build has made of a file: a legacy LZ4
// stream followed by the file's size. Each block of the stream has its length in front.
func unlz4(src []byte) ([]byte, error) {
	if len(src) < 8 || binary.LittleEndian.Uint32(src) != lz4Magic {
		return nil, errors.New("not compressed with LZ4")
	}
	size := binary.LittleEndian.Uint32(src[len(src)-4:])
	if int64(size) > maxRatio*int64(len(src)) {
		return nil, errLZ4
	}
	blocks := src[4 : len(src)-4]
	out := make([]byte, 0, size)
	for len(blocks) > 0 {
		if len(blocks) < 4 {
			return nil, errLZ4
		}
		n := int64(binary.LittleEndian.Uint32(blocks))
		if blocks = blocks[4:]; n > int64(len(blocks)) {
			return nil, errLZ4
		}
		var err error
		if out, err = unlz4Block(out, blocks[:n]); err != nil {
			return nil, err
		}
		blocks = blocks[n:]
	}
	if len(out) != int(size) {
		return nil, errLZ4
	}
	return out, nil
}

// unlz4Block appends what a block decompresses to. A block is a series of
// literals, each followed by a copy of earlier output, but for the last.
func unlz4Block(out, src []byte) ([]byte, error) {
	start := len(out) // blocks do not refer to each other
	for len(src) > 0 {
		token := src[0]
		literals, src2, ok := lz4Length(int(token>>4), src[1:])
		if !ok || literals > len(src2) {
			return nil, errLZ4
		}
		out, src = append(out, src2[:literals]...), src2[literals:]
		if len(src) == 0 {
			return out, nil
		}
		if len(src) < 2 {
			return nil, errLZ4
		}
		distance := int(binary.LittleEndian.Uint16(src))
		match, src2, ok := lz4Length(int(token&15), src[2:])
		if !ok || distance == 0 || distance > len(out)-start {
			return nil, errLZ4
		}
		src = src2
		// A copy may overlap its own output: then it repeats it.
		for from, left := len(out)-distance, match+4; left > 0; {
			n := min(left, len(out)-from)
			out = append(out, out[from:from+n]...)
			left -= n
		}
	}
	return nil, errLZ4 // a block ends in literals
}

// lz4Length returns a length that begins with nibble and the rest of src.
func lz4Length(nibble int, src []byte) (length int, rest []byte, ok bool) {
	if length = nibble; nibble < 15 {
		return length, src, true
	}
	for i, b := range src {
		length += int(b)
		if b < 255 {
			return length, src[i+1:], true
		}
	}
	return 0, nil, false
}
