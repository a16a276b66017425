package api

// The WebSocket of a terminal carries binary messages, which are what programs
// write and what is typed, and texts, which are JSON with a type.
const (
	// TypeSessionInfo, from the server, at the beginning: see [SessionInfo].
	TypeSessionInfo = "sessionInfo"
	// TypeExited, from the server: see [TerminalExited]. The server then closes.
	TypeExited = "exited"
	// TypeResize and TypeSignal, from the client: see [TerminalControl].
	TypeResize = "resize"
	TypeSignal = "signal"
)

// SessionInfo says which terminal the connection is attached to.
type SessionInfo struct {
	Type      string `json:"type"`
	SessionID string `json:"sessionId"`
}

// TerminalExited says how the program of a terminal ended.
type TerminalExited struct {
	Type     string `json:"type"`
	ExitCode int    `json:"exitCode"` // or 128 and the signal's number
}

// TerminalControl asks for another size, or sends a signal.
type TerminalControl struct {
	Type   string `json:"type"`
	Cols   int    `json:"cols,omitempty"`
	Rows   int    `json:"rows,omitempty"`
	Signal string `json:"signal,omitempty"` // like SIGINT
}

// TerminalError says what was wrong with a message, after which the connection
// goes on, or why the server closes it.
type TerminalError = ExecError

// Terminals are those of a VM.
type Terminals struct {
	Sessions []Terminal `json:"sessions" nullable:"false" doc:"The oldest first"`
}

// A Terminal is what is known of one.
type Terminal struct {
	SessionID     string `json:"sessionId"`
	Running       bool   `json:"running"`
	ExitCode      *int   `json:"exitCode,omitempty" doc:"Of a program that has ended: its status, or 128 and the signal's number"`
	ExitedAtMs    *int64 `json:"exitedAtMs,omitempty" doc:"Milliseconds since 1970"`
	Cols          int    `json:"cols"`
	Rows          int    `json:"rows"`
	Exec          string `json:"exec,omitempty" doc:"The command, the first of it; none is the user's shell"`
	CreatedAtMs   int64  `json:"createdAtMs" doc:"Milliseconds since 1970, by the guest's clock"`
	AttachedCount int    `json:"attachedCount"`
	User          string `json:"user"`
}

// A ClosedTerminal is one that was ended.
type ClosedTerminal struct {
	SessionID string `json:"sessionId"`
	ExitCode  *int   `json:"exitCode,omitempty"`
}
