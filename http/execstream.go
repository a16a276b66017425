package http

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

const (
	outputPiece    = 32 << 10 // to a client
	startTimeout   = 10 * time.Second
	goodbyeTimeout = 5 * time.Second
)

// errClientLeft is why a command is killed whose client closed the WebSocket.
var errClientLeft = errors.New("the client closed the connection")

// execStream runs a command over a WebSocket: see [api.ExecStart].
func (s *Server) execStream(w http.ResponseWriter, r *http.Request, who caller) error {
	session, release, err := s.use(r.Context(), who, r.PathValue("vm_id"), "exec")
	if err != nil {
		return err
	}
	defer release()
	if err := wantsWebSocket(r, "this is a WebSocket; to run a command by one request, POST to exec-await"); err != nil {
		return err
	}
	conn, done := s.accept(w, r)
	if conn == nil {
		return nil
	}
	defer done()

	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	sending, stop := outlasting(ctx)
	defer stop()
	x := &execution{conn: conn, sending: sending, stdin: newStdin()}
	status, err := x.run(ctx, cancel, session, r.Header.Get(api.HeaderLinuxUser))
	if !errors.Is(err, errClientLeft) {
		s.config.Log.Debug("exec ended", "trace", traceOf(r.Context()), "status", status.Code, "error", err)
		x.report(status, err)
	}
	return nil
}

// An execution is one command and the WebSocket it is connected to.
type execution struct {
	conn    *websocket.Conn
	sending context.Context // for every Write; see outlasting
	stdin   *stdin
}

// run runs the command until it ends or ctx does, which cancel ends when the
// client leaves or breaks the rules.
func (x *execution) run(ctx context.Context, cancel context.CancelCauseFunc, session coppice.Session, user string) (coppice.ExecStatus, error) {
	spec, err := x.start(ctx)
	if err != nil {
		return coppice.ExecStatus{}, err
	}
	if spec.User == "" {
		spec.User = user
	}
	// Not the command's context: as with a Write, see outlasting. Its own end is no
	// end of that: an acknowledgement may be under way just then.
	connected := context.WithoutCancel(ctx)
	defer x.stdin.close(context.Canceled)
	go func() {
		err := x.receive(connected)
		cancel(err)
		x.stdin.close(err)
	}()
	x.stdin.taken = func(n int) error {
		return wsjson.Write(x.sending, x.conn, api.StdinAck{Type: api.TypeStdinAck, Bytes: n})
	}
	status, err := session.Exec(ctx, spec, coppice.Stdio{
		Stdin:  x.stdin,
		Stdout: x.writer(api.StreamStdout),
		Stderr: x.writer(api.StreamStderr),
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return status, startError(err, "the command")
}

// report tells the client how the command ended, and closes.
func (x *execution) report(status coppice.ExecStatus, err error) {
	ctx := x.sending
	var last any = api.ExecExit{Type: api.TypeExit, Code: status.Code, TimedOut: status.TimedOut}
	if err != nil {
		f := translate(err)
		last = api.ExecError{Type: api.TypeError, Code: string(f.err.Code), Message: f.err.Message}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, goodbyeTimeout)
		defer cancel()
	}
	if wsjson.Write(ctx, x.conn, last) == nil {
		_ = x.conn.Close(websocket.StatusNormalClosure, "") // the client may be gone already
	}
}

// start reads what to run.
func (x *execution) start(ctx context.Context) (coppice.ExecSpec, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	kind, msg, err := x.conn.Read(ctx)
	if err != nil {
		return coppice.ExecSpec{}, errClientLeft
	}
	var start api.ExecStart
	if kind != websocket.MessageText || json.Unmarshal(msg, &start) != nil || start.TimeoutMs < 0 {
		return coppice.ExecSpec{}, coppice.Errorf(coppice.CodeInvalidRequest, `the first message says what to run, like {"command":"echo hi"}`)
	}
	spec := coppice.ExecSpec{
		Command: start.Command,
		User:    start.User,
		Dir:     start.Dir,
		Timeout: time.Duration(min(start.TimeoutMs, int64(time.Hour/time.Millisecond)*24*365)) * time.Millisecond,
	}
	for k, v := range start.Env {
		if k == "" || strings.ContainsAny(k, "=\x00") {
			return spec, coppice.Errorf(coppice.CodeInvalidRequest, "%q cannot be the name of an environment variable", k)
		}
		spec.Env = append(spec.Env, k+"="+v)
	}
	slices.Sort(spec.Env)
	return spec, checkCommand(spec)
}

// receive takes the client's messages until there are no more, and never waits
// for the command as long as the client keeps to the window.
func (x *execution) receive(ctx context.Context) error {
	for {
		kind, msg, err := x.conn.Read(ctx)
		if err != nil {
			return errClientLeft
		}
		switch {
		case kind == websocket.MessageText:
			var m api.ExecMessage
			if json.Unmarshal(msg, &m) != nil {
				return coppice.Errorf(coppice.CodeInvalidRequest, "a text message is JSON with a type")
			}
			if m.Type == api.TypeStdinClose {
				x.stdin.end()
			}
		case len(msg) > 0 && msg[0] == api.StreamStdin:
			x.stdin.add(msg[1:])
		default:
			return coppice.Errorf(coppice.CodeInvalidRequest, "a binary message begins with the byte 0, for stdin")
		}
	}
}

func (x *execution) writer(stream byte) *streamWriter {
	return &streamWriter{ctx: x.sending, conn: x.conn, buf: []byte{stream}}
}

// A streamWriter sends what is written to it as messages of one stream.
type streamWriter struct {
	ctx  context.Context
	conn *websocket.Conn
	buf  []byte // the stream's byte, and room for a piece
}

func (w *streamWriter) Write(p []byte) (int, error) {
	written := 0
	for piece := range slices.Chunk(p, outputPiece) {
		w.buf = append(w.buf[:1], piece...)
		if err := w.conn.Write(w.ctx, websocket.MessageBinary, w.buf); err != nil {
			return written, err
		}
		written += len(piece)
	}
	return written, nil
}
