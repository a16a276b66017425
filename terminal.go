package coppice

import (
	"context"
	"errors"
	"io"
	"regexp"
	"time"
)

// What a guest says of its terminals.
var (
	ErrNoTerminal      = errors.New("no such terminal")
	ErrTerminalExists  = errors.New("there is a terminal of that id already")
	ErrTerminalExpired = errors.New("the terminal has ended, and its screen is gone")
	ErrTerminalUser    = errors.New("the terminal is another user's")
	ErrTooMany         = errors.New("there are too many already")
)

const (
	// MaxTerminalSide is how many columns or rows a terminal may have.
	MaxTerminalSide = 1000
	// MaxTerminals is how many terminals of a guest may run, and how many may
	// be attached to a guest's terminals.
	MaxTerminals = 64
)

var terminalID = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,64}$`)

// ValidTerminalID reports whether a terminal may have this id.
func ValidTerminalID(id string) bool { return terminalID.MatchString(id) }

// GuestTerminals are the terminals of a guest as one user sees them: their own,
// and root all. A terminal and what runs in it belong to the guest. They live
// whether or not somebody is attached, as long as the guest's memory does:
// through the end of any connection, a suspend, and in a fork, which has them too.
type GuestTerminals interface {
	// Open starts a program in a new terminal and attaches to that.
	// [ErrTerminalExists] if one of that id has not ended, [ErrTerminalUser] if it
	// has, and was another user's; one's own makes room. [ErrTooMany] if there can
	// be no more, [ErrNoUser].
	Open(ctx context.Context, spec TerminalSpec) (Terminal, error)
	// Attach attaches to a terminal, also to one that has ended and still has
	// its screen. [ErrNoTerminal] if there is none of that id, [ErrTerminalExpired]
	// if it has ended long ago, [ErrTerminalUser] if it is another user's, [ErrTooMany].
	// typist is who will type; nil is somebody who has not typed before and will not come again.
	Attach(ctx context.Context, id string, size TerminalSize, typist *Typist) (Terminal, error)
	// List returns the terminals, the oldest first.
	List(ctx context.Context) ([]TerminalInfo, error)
	// Close ends a terminal as if its line was cut: what runs in it is hung up,
	// and killed if it stays. It returns when the program has ended, and what is known of it
	// then; the terminal is gone. The errors are those of Attach.
	Close(ctx context.Context, id string) (TerminalInfo, error)
}

// A Terminal is one attachment to a terminal of a guest. All who are attached
// see what programs write, and what any of them writes is typed. It can be used
// until Close, which must be called, or until the context that it was opened with ends.
//
// One goroutine may read while another writes; the other methods may be called at any time.
type Terminal interface {
	// Info is what was known of the terminal when this was attached.
	Info() TerminalInfo
	// Replay is how many of the first bytes that are read draw the screen as it was
	// when this was attached: 0 for a terminal that was opened. They may be
	// written to a terminal in any state, and what follows them, after them.
	Replay() int
	// Read reads what programs write. Who does not keep up holds up nobody:
	// they get the screen anew in place of what they missed. The error is
	// [io.EOF] when the program has ended and all was read, and
	// [ErrGuestGone] when the connection broke: the terminal goes on.
	io.Reader
	// Write types, and returns how much of it the guest has taken: that is in its
	// memory, and lives as long. It waits for the program to read, when more was
	// typed than the guest keeps. [ErrGuestGone] when the connection broke: what
	// was not taken can be written again, see [Typist]. [io.ErrClosedPipe] once
	// the program has ended. A guest with an agent from before there were typists
	// does not say what it takes: what was sent counts as taken.
	io.Writer
	// Resize says how large the window is. The terminal has the smallest
	// of all that are attached, in each direction; whose window is larger sees that part of it.
	Resize(ctx context.Context, size TerminalSize) error
	// Signal sends a signal, like "SIGTERM": to the processes in the foreground,
	// except that SIGKILL and SIGHUP go to the program the terminal was opened with.
	Signal(ctx context.Context, signal string) error
	// Exit is how the program ended, once Read has returned [io.EOF]; zero before that.
	Exit() TerminalExit
	// Close detaches. Closing again does nothing.
	Close() error
}

// A Typist is somebody who types into one terminal, by one attachment after the
// other as connections break, and goes on each time with what was not taken
// before. The guest may have taken that and have had no time to say so; it knows its typists,
// and types nothing twice. A typist types by one attachment at a time.
type Typist struct {
	// ID is nobody else's.
	ID string
	// Typed is how much of what they type Write has returned as taken, in bytes.
	Typed int64
}

// NewTypist returns somebody who has not typed yet.
func NewTypist() *Typist { return &Typist{ID: randomID()} }

// A TerminalSpec is a terminal to open.
type TerminalSpec struct {
	// ID is unique in the guest. If it is empty the guest chooses one: "pty-1", and so on.
	ID string
	// Command is a script for the user's shell; if it is empty the terminal
	// runs the shell itself, as when somebody logs in.
	Command string
	// Dir to run in; empty is the user's home.
	Dir string
	// Env is added to the standard environment, as KEY=value. TERM is
	// xterm-256color if it is not in it.
	Env  []string
	Size TerminalSize
	// Most is how many terminals of the guest may run, this one included; 0 is [MaxTerminals].
	Most int
	// Typist is who will type, as in Attach.
	Typist *Typist
}

// A TerminalSize is columns and rows of characters, each from 1 to [MaxTerminalSide].
type TerminalSize struct{ Cols, Rows int }

// Valid reports whether a terminal may have this size.
func (s TerminalSize) Valid() bool {
	return min(s.Cols, s.Rows) >= 1 && max(s.Cols, s.Rows) <= MaxTerminalSide
}

// A TerminalExit is how the program of a terminal ended.
type TerminalExit struct {
	// Code is the exit status, or 128 and the signal's number.
	Code int
	// Signal that ended it, like "SIGKILL"; empty if it ended by itself.
	Signal string
}

// TerminalInfo is what is known of a terminal.
type TerminalInfo struct {
	ID      string
	User    string
	Command string // the first of it, if it is long
	Size    TerminalSize
	// Attached is how many are.
	Attached int
	Created  time.Time // by the guest's clock
	// Ended is when the program did; zero while it runs. Exit is meaningful after that.
	Ended time.Time
	Exit  TerminalExit
}
