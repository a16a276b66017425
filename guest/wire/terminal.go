package wire

import "github.com/coppice-vm/coppice"

// A Terminal says which terminal is meant, by whom, and what for.
type Terminal struct {
	User string               `json:",omitempty"`
	ID   string               `json:",omitempty"` // empty for a new one: the guest chooses
	New  *NewTerminal         `json:",omitempty"` // terminal: open it
	Size coppice.TerminalSize // terminal, resize: of the window

	Signal string `json:",omitempty"` // signal

	Typist string `json:",omitempty"` // type: as in [coppice.Typist], and
	Typed  int64  `json:",omitempty"` // what the first data comes after
}

// A NewTerminal is what runs in a new terminal, as in [coppice.TerminalSpec].
type NewTerminal struct {
	Command string   `json:",omitempty"`
	Dir     string   `json:",omitempty"`
	Env     []string `json:",omitempty"`
	Most    int      `json:",omitempty"`
}

// Attached says what the host is attached to. The first Replay bytes of the
// data that follows draw the screen.
type Attached struct {
	TerminalInfo
	Replay int
	Types  bool // the guest knows [OpType]; the oldest do not
}

// TerminalInfo is what is known of a terminal, as in [coppice.TerminalInfo].
type TerminalInfo struct {
	ID       string
	User     string
	Command  string `json:",omitempty"`
	Size     coppice.TerminalSize
	Attached int
	Created  int64  // nanoseconds since 1970
	Ended    *Ended `json:",omitempty"` // nil while the program runs
}

// Ended is how and when the program of a terminal ended.
type Ended struct {
	At     int64  // nanoseconds since 1970
	Code   int    // as in [coppice.TerminalExit]
	Signal string `json:",omitempty"`
}

// CommandShown is how much of a command TerminalInfo has, in bytes.
const CommandShown = 1024
