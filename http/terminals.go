package http

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/api"
)

// usualSize is the size of a terminal of which nothing is said.
var usualSize = coppice.TerminalSize{Cols: 80, Rows: 24}

// terminalsOf returns the terminals of the request's VM, as its user sees them. Until
// release the VM is in use.
func (s *Server) terminalsOf(ctx context.Context, r *http.Request, who caller) (terminals coppice.GuestTerminals, release func(), err error) {
	session, release, err := s.use(ctx, who, r.PathValue("vm_id"), "terminal")
	if err != nil {
		return nil, nil, err
	}
	return session.Terminals(r.Header.Get(api.HeaderLinuxUser)), release, nil
}

func (s *Server) openTerminal(w http.ResponseWriter, r *http.Request, who caller) error {
	return s.view(w, r, who, func(ctx context.Context, terminals coppice.GuestTerminals, size coppice.TerminalSize, typist *coppice.Typist) (coppice.Terminal, error) {
		query := r.URL.Query()
		spec := coppice.TerminalSpec{ID: query.Get("sessionId"), Command: query.Get("exec"), Size: size, Typist: typist}
		if err := checkTerminalID(spec.ID); spec.ID != "" && err != nil {
			return nil, err
		}
		if term := query.Get("term"); term != "" {
			if strings.ContainsFunc(term, func(r rune) bool { return r <= ' ' || r > '~' }) {
				return nil, coppice.Errorf(coppice.CodeInvalidRequest, "%.40q cannot be a kind of terminal; it should be a name like xterm-256color", term)
			}
			spec.Env = []string{"TERM=" + term}
		}
		terminal, err := terminals.Open(ctx, spec)
		return terminal, terminalError(err, r, spec.ID)
	})
}

func (s *Server) attachTerminal(w http.ResponseWriter, r *http.Request, who caller) error {
	return s.view(w, r, who, func(ctx context.Context, terminals coppice.GuestTerminals, size coppice.TerminalSize, typist *coppice.Typist) (coppice.Terminal, error) {
		id := r.PathValue("session_id")
		if err := checkTerminalID(id); err != nil {
			return nil, err
		}
		terminal, err := terminals.Attach(ctx, id, size, typist)
		return terminal, terminalError(err, r, id)
	})
}

func (s *Server) listTerminals(w http.ResponseWriter, r *http.Request, who caller) error {
	terminals, release, err := s.terminalsOf(r.Context(), r, who)
	if err != nil {
		return err
	}
	defer release()
	infos, err := terminals.List(r.Context())
	if err != nil {
		return terminalError(err, r, "")
	}
	list := api.Terminals{Sessions: []api.Terminal{}}
	for i := range infos {
		list.Sessions = append(list.Sessions, terminalJSON(&infos[i]))
	}
	return writeJSON(w, list)
}

func terminalJSON(info *coppice.TerminalInfo) api.Terminal {
	out := api.Terminal{
		SessionID: info.ID, Running: info.Ended.IsZero(), Cols: info.Size.Cols, Rows: info.Size.Rows,
		Exec: info.Command, CreatedAtMs: info.Created.UnixMilli(), AttachedCount: info.Attached, User: info.User,
	}
	if !out.Running {
		out.ExitCode, out.ExitedAtMs = &info.Exit.Code, new(info.Ended.UnixMilli())
	}
	return out
}

func (s *Server) closeTerminal(w http.ResponseWriter, r *http.Request, who caller) error {
	terminals, release, err := s.terminalsOf(r.Context(), r, who)
	if err != nil {
		return err
	}
	defer release()
	id := r.PathValue("session_id")
	if err := checkTerminalID(id); err != nil {
		return err
	}
	info, err := terminals.Close(r.Context(), id)
	if err != nil {
		return terminalError(err, r, id)
	}
	return writeJSON(w, api.ClosedTerminal{SessionID: id, ExitCode: terminalJSON(&info).ExitCode})
}

// terminalSize reads cols and rows.
func terminalSize(query url.Values) (coppice.TerminalSize, error) {
	size := usualSize
	for name, side := range map[string]*int{"cols": &size.Cols, "rows": &size.Rows} {
		if said := query.Get(name); said != "" {
			n, err := strconv.Atoi(said)
			if err != nil {
				return size, coppice.Errorf(coppice.CodeInvalidRequest, "%s is %.40q; it should be a number from 1 to %d", name, said, coppice.MaxTerminalSide)
			}
			*side = n
		}
	}
	if !size.Valid() {
		return size, errTerminalSize(size)
	}
	return size, nil
}

func errTerminalSize(size coppice.TerminalSize) error {
	return coppice.Errorf(coppice.CodeInvalidRequest, "a terminal cannot have %d columns and %d rows; both should be from 1 to %d", size.Cols, size.Rows, coppice.MaxTerminalSide)
}

func checkTerminalID(id string) error {
	if !coppice.ValidTerminalID(id) {
		return coppice.Errorf(coppice.CodeInvalidSessionID, "%.100q cannot be the id of a terminal session: it should have 1 to 64 letters, digits, dots, dashes and underscores", id).With("sessionId", id)
	}
	return nil
}

// terminalError says what is wrong with a terminal of the request's VM.
func terminalError(err error, r *http.Request, id string) error {
	say := func(code coppice.Code, format string, args ...any) error {
		return coppice.Errorf(code, format, args...).With("vmId", r.PathValue("vm_id")).With("sessionId", id).Because(err)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, coppice.ErrNoTerminal):
		return say(coppice.CodeSessionNotFound, "the VM has no terminal session %s", id)
	case errors.Is(err, coppice.ErrTerminalExists):
		return say(coppice.CodeSessionExists, "terminal session %s is running already; attach to it, or choose another id", id)
	case errors.Is(err, coppice.ErrTerminalExpired):
		return say(coppice.CodeSessionExpired, "terminal session %s has ended a while ago, and its screen is not kept any more", id)
	case errors.Is(err, coppice.ErrTerminalUser):
		return say(coppice.CodeSessionUser, "terminal session %s is another Linux user's", id)
	case errors.Is(err, coppice.ErrTooMany):
		return coppice.Errorf(coppice.CodeSessionCapReached, "a VM can have %d terminal sessions that run, and as many connections to them; close some", coppice.MaxTerminals).
			With("vmId", r.PathValue("vm_id")).With("limit", coppice.MaxTerminals).Because(err)
	}
	return startError(err, "the terminal's program")
}

// returnsTerminals documents an answer in JSON about terminals.
func returnsTerminals[Out any](s *Server, op *huma.Operation) {
	returnsJSON[Out]()(s, op)
	linuxUser(op)
}

// terminalUpgrades documents the WebSocket of a terminal.
func terminalUpgrades(s *Server, op *huma.Operation) {
	op.Description = "Binary messages are what programs write and what is typed. The server begins with {\"type\":\"sessionInfo\",\"sessionId\":\"...\"}; " +
		"to one who attaches, the first binary message draws the screen as it is. The client may send {\"type\":\"resize\",\"cols\":n,\"rows\":n}: of all who are attached the " +
		"smallest size counts; and {\"type\":\"signal\",\"signal\":\"SIGINT\"}. When the program has ended the server says {\"type\":\"exited\",\"exitCode\":n} and closes. " +
		"A client that closes detaches: the terminal lives on. While the VM is asleep the connection waits, until something is typed, which wakes it, or it is woken otherwise."
	s.answers(op, "", nil)
	delete(op.Responses, "200")
	op.Responses["101"] = &huma.Response{Description: "Switching Protocols"}
	linuxUser(op)
}
