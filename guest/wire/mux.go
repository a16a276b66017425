package wire

import (
	"io"
	"log"
	"time"

	"github.com/hashicorp/yamux"
)

// Streams is how many streams a session has room for at once, by agreement.
const Streams = 256

// stalled is how long a session waits for the other end to read anything at
// all. The guest of a busy host may be slow.
const stalled = 30 * time.Second

// Client runs the host's end of a session on conn. The host opens the streams.
func Client(conn io.ReadWriteCloser) (*yamux.Session, error) {
	return yamux.Client(conn, muxConfig())
}

// Server runs the guest's end of a session on conn.
func Server(conn io.ReadWriteCloser) (*yamux.Session, error) {
	return yamux.Server(conn, muxConfig())
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
