package wire

import (
	"encoding/binary"
	"io"
	"log"
	"time"

	"github.com/hashicorp/yamux"
)

// Streams is how many streams a session has room for at once, by agreement.
const Streams = 1024

// stalled is how long a session waits for the other end to read anything at
// all. The guest of a busy host may be slow.
const stalled = 30 * time.Second

// Client runs the host's end of a session on conn. The host opens the streams.
func Client(conn io.ReadWriteCloser) (*yamux.Session, error) {
	return yamux.Client(&joiner{ReadWriteCloser: conn}, muxConfig())
}

// Server runs the guest's end of a session on conn. A stream that the guest has closed
// stays until the host has read it, however slowly, and closed it too.
func Server(conn io.ReadWriteCloser) (*yamux.Session, error) {
	config := muxConfig()
	config.StreamCloseTimeout = 0
	return yamux.Server(&joiner{ReadWriteCloser: conn}, config)
}

// A joiner writes the frames of yamux whole. yamux writes a header and then
// its content, and each write costs an emulated guest a trip to its host.
type joiner struct {
	io.ReadWriteCloser
	held []byte // a header whose content is to come, and room for that
}

// Of a yamux header: version, type, flags (2 bytes), stream (4), length (4).
const (
	muxHeader = 12
	muxData   = 0 // a type
)

func (j *joiner) Write(p []byte) (int, error) {
	if len(j.held) == 0 && len(p) == muxHeader && p[1] == muxData && binary.BigEndian.Uint32(p[8:]) > 0 {
		j.held = append(j.held, p...)
		return len(p), nil
	}
	if len(j.held) == 0 {
		return j.ReadWriteCloser.Write(p)
	}
	frame := append(j.held, p...)
	j.held = frame[:0]
	if _, err := j.ReadWriteCloser.Write(frame); err != nil {
		return 0, err
	}
	return len(p), nil
}

func muxConfig() *yamux.Config {
	config := yamux.DefaultConfig()
	config.AcceptBacklog = Streams
	config.EnableKeepAlive = false // an idle guest is left alone
	config.StreamOpenTimeout = 0   // the caller's context says how long
	config.StreamCloseTimeout = stalled
	config.ConnectionWriteTimeout = stalled
	config.LogOutput = nil
	config.Logger = log.New(io.Discard, "", 0) // what it has to say comes back as errors too
	return config
}
