package guest

import (
	"encoding/binary"
	"errors"
	"io"
)

// errForeign is what a guest gets for a frame that no agent sends.
var errForeign = errors.New("the guest does not keep to the protocol")

// A guard is a connection to a guest that ends at the first yamux frame an
// honest agent would not send. yamux answers each ping from a goroutine of its
// own, so that a guest could make it hold any amount of memory by not reading
// the answers; and it buffers streams that nobody accepts.
type guard struct {
	io.ReadWriteCloser
	header  [12]byte // of the frame being read
	have    int      // bytes of it
	content uint32   // of the frame, still to come
}

// Of a yamux header: version, type, flags (2 bytes), stream (4), length (4).
const (
	muxData, muxWindow, muxPing = 0, 1, 2
	muxSYN, muxACK              = 1, 2
	muxMostData                 = 256 << 10 // yamux's window, which it has both ends agree on
)

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.ReadWriteCloser.Read(p)
	if foreign := g.look(p[:n]); foreign != nil {
		return 0, foreign
	}
	return n, err
}

// look follows the frames in p.
func (g *guard) look(p []byte) error {
	for len(p) > 0 {
		if g.content > 0 {
			skip := min(uint64(len(p)), uint64(g.content))
			p, g.content = p[skip:], g.content-uint32(skip)
			continue
		}
		n := copy(g.header[g.have:], p)
		p, g.have = p[n:], g.have+n
		if g.have < len(g.header) {
			return nil
		}
		g.have = 0
		flags := binary.BigEndian.Uint16(g.header[2:])
		length := binary.BigEndian.Uint32(g.header[8:])
		switch kind := g.header[1]; {
		case kind == muxData && flags&muxSYN == 0 && length <= muxMostData:
			g.content = length
		case kind == muxWindow && flags&muxSYN == 0 && length <= muxMostData:
		case kind == muxPing && flags == muxACK:
		default:
			return errForeign
		}
	}
	return nil
}
