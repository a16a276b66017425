package http

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/coppice-vm/coppice"
)

const maxMessage = 1 << 20 // from a client

// wantsWebSocket returns an error, which says what is here, if r does not ask
// for a WebSocket.
func wantsWebSocket(r *http.Request, here string) error {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return nil
	}
	return at(http.StatusUpgradeRequired, coppice.Errorf(coppice.CodeInvalidRequest, "%s", here))
}

// accept makes a WebSocket of a request. It is nil if the client has been told
// that it cannot be; otherwise the server waits for it when it shuts down, until
// done. Of the protocols, the client's first choice is spoken.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, protocols ...string) (conn *websocket.Conn, done func()) {
	s.streams.Add(1)
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: protocols})
	if err != nil {
		s.streams.Done()
		s.config.Log.Info("refused a WebSocket", "trace", traceOf(r.Context()), "error", err)
		return nil, nil
	}
	conn.SetReadLimit(maxMessage)
	return conn, func() {
		conn.CloseNow()
		s.streams.Done()
	}
}

// outlasting returns a context that ends a while after ctx has: a Write whose
// context ends closes the connection, which still has to carry why.
func outlasting(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(goodbyeTimeout, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}
