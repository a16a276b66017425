package wire

import (
	"errors"
	"io"
	"io/fs"
	"syscall"

	"github.com/coppice-vm/coppice"
)

// An Op is what a stream is for.
type Op string

const (
	// OpIdentify is the first stream of every connection; nothing else is let
	// in before it has been answered. Host: Request. Then, a number of times,
	// host: [Step], guest: [Clock], until a Step is the last. Guest: [Identified].
	OpIdentify Op = "identify"
	// OpClock sets the wall clock. Host: Request. Then as for OpIdentify, up to the
	// last Step. Guest: [Done].
	OpClock Op = "clock"
	// OpExec runs a command. Host: Request, Data..., End. Guest: Data and
	// Stderr..., [Exited]. A host that closes the stream before that has the
	// command killed; one that loses the connection has not.
	OpExec Op = "exec"
	// OpSignalCommand sends a signal to the main process of an exec stream. Host:
	// Request. Guest: [Done].
	OpSignalCommand Op = "signal command"
	// OpKill kills the command of an exec stream, which ends
	// as when it is killed by a signal. Host: Request. Guest: [Done].
	OpKill Op = "kill"
	// OpOpen reads a file or lists a directory. Host: Request. Guest: [FileInfo],
	// Data..., End. For a directory the data is an entry after the other: one
	// byte, 'd' for a directory and 'f' for all else, the name, and a zero byte.
	OpOpen Op = "open"
	// OpWrite replaces a file. Host: Request, Data..., End. Guest: [Done].
	OpWrite Op = "write"
	// OpWatch reports changes. Host: Request. Guest: [Done] when it watches, then
	// a Data frame with a [coppice.FileEvent] in JSON for every change.
	OpWatch Op = "watch"
	// OpDial connects to a socket of the guest's. Host: Request. Guest: [Done] when
	// connected. Then each end: Data..., End.
	OpDial Op = "dial"
	// OpListen listens on a socket in the guest for as long as the host keeps the
	// stream open. Host: Request. Guest: [Listening], then a Data frame with an
	// [Arrival] in JSON for every connection, which waits a while for an OpAccept.
	OpListen Op = "listen"
	// OpAccept takes a connection that has arrived. Host: Request. The rest is as for OpDial.
	OpAccept Op = "accept"
	// OpTerminal opens a terminal, or attaches to one. Host: Request. Guest:
	// [Attached], Data..., and when the program has ended [Ended]. A host that
	// closes the stream detaches. If Attached does not say Types, the host types
	// by Data on this stream, and hears nothing of it.
	OpTerminal Op = "terminal"
	// OpType types into the terminal of a stream. Host: Request, Data... Guest:
	// [Done] for each Data, when it has taken that.
	OpType Op = "type"
	// OpDetach detaches the terminal of a stream; it ends. Host: Request. Guest: [Done].
	OpDetach Op = "detach"
	// OpResize gives the terminal of a stream another size. Host: Request. Guest: [Done].
	OpResize Op = "resize"
	// OpSignal sends a signal to the terminal of a stream. Host: Request. Guest: [Done].
	OpSignal Op = "signal"
	// OpTerminals lists terminals. Host: Request. Guest: [TerminalInfo]..., End.
	OpTerminals Op = "terminals"
	// OpHangup ends a terminal. Host: Request. Guest: [TerminalInfo].
	OpHangup Op = "hangup"
	// OpShutdown asks the guest's init to power off. Host: Request. Guest: [Done].
	OpShutdown Op = "shutdown"
)

// A Request opens a stream.
type Request struct {
	Op       Op
	Stream   uint32    `json:",omitempty"` // kill, detach, type, resize, signal: the number of the stream it is about; accept: of the listen stream
	Arrival  uint32    `json:",omitempty"` // accept
	Identity *Identity `json:",omitempty"` // identify
	Exec     *Exec     `json:",omitempty"` // exec
	File     *File     `json:",omitempty"` // open, write, watch
	Socket   *Socket   `json:",omitempty"` // dial, listen
	Signal   string    `json:",omitempty"` // signal command
	Terminal *Terminal `json:",omitempty"` // terminal, type, resize, signal, terminals, hangup
}

// An Identity is who a guest is from now on.
type Identity struct {
	VM       coppice.VMID
	Instance coppice.InstanceID
	Hostname string
	Fresh    bool // as in [coppice.GuestIdentity]
	Entropy  []byte
	// The rest is set if Fresh.
	MachineID string
	HostKeys  []HostKey
}

// A HostKey is an SSH host key in the formats of OpenSSH's files.
type HostKey struct {
	Type            string // "ed25519": the file is ssh_host_ed25519_key
	Private, Public []byte
}

// A Clock is what the guest's wall clock shows, in nanoseconds since 1970.
type Clock struct{ Now int64 }

// A Step is added to the guest's wall clock. The last one ends the exchange.
type Step struct {
	Nanoseconds int64
	Last        bool
}

// Identified says that the guest is who it was told to be. Complaints are what
// went wrong without harm to that.
type Identified struct{ Complaints []string }

// An Exec is a command to run, as in [coppice.ExecSpec].
type Exec struct {
	Command string
	SFTP    bool     `json:",omitempty"`
	User    string   `json:",omitempty"`
	Dir     string   `json:",omitempty"`
	Env     []string `json:",omitempty"`
	// Timeout in milliseconds; 0 is none.
	Timeout int64 `json:",omitempty"`
	Stdin   bool  // it comes; else it is empty
}

// Exited is how a command ended, as in [coppice.ExecStatus].
type Exited struct {
	Code     int
	Signal   string `json:",omitempty"`
	TimedOut bool   `json:",omitempty"`
}

// A File names a file, as a user sees it.
type File struct {
	User string `json:",omitempty"`
	Name string
	Mode fs.FileMode `json:",omitempty"` // write: of a new file
}

// FileInfo describes the file whose content follows.
type FileInfo struct {
	Mode fs.FileMode
	Size int64
}

// A Socket names a socket, as a process of the user's does.
type Socket struct {
	User    string `json:",omitempty"`
	Network string // "tcp" or "unix"
	Address string // host:port, or a path
}

// Listening says where a listener listens.
type Listening struct{ Address string }

// An Arrival is a connection that somebody in the guest has made to a listener.
type Arrival struct {
	Number uint32
	From   string // an address; empty if it has none
}

// Done is an answer that says no more than that.
type Done struct{}

// An Error is why a request was not met. It unwraps to what its cause says of it.
type Error struct {
	Cause   Cause `json:",omitempty"`
	Message string
}

// A Cause is what a program wants to know of an [Error].
type Cause string

// causes has, of each cause, what the host sees first, then more that a guest may mean by it.
var causes = []struct {
	cause Cause
	err   error
}{
	{"no user", coppice.ErrNoUser},
	{"no terminal", coppice.ErrNoTerminal},
	{"terminal exists", coppice.ErrTerminalExists},
	{"terminal expired", coppice.ErrTerminalExpired},
	{"another's terminal", coppice.ErrTerminalUser},
	{"too many", coppice.ErrTooMany},
	{"not there", fs.ErrNotExist},
	{"not allowed", fs.ErrPermission},
	{"exists", fs.ErrExist},
	{"refused", syscall.ECONNREFUSED},
	{"in use", syscall.EADDRINUSE},
	{"ended", io.ErrClosedPipe},
	{"invalid", fs.ErrInvalid},
	{"invalid", syscall.EINVAL},
	{"invalid", syscall.EISDIR},
	{"invalid", syscall.ENOTDIR},
	{"invalid", syscall.ELOOP},
	{"invalid", syscall.ENAMETOOLONG},
	{"invalid", syscall.E2BIG},
}

// NewError returns err as it goes over the wire.
func NewError(err error) *Error {
	e := &Error{Message: err.Error()}
	if len(e.Message) > 4096 {
		e.Message = e.Message[:4096]
	}
	for _, c := range causes {
		if errors.Is(err, c.err) {
			e.Cause = c.cause
			break
		}
	}
	return e
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error {
	for _, c := range causes {
		if e.Cause == c.cause {
			return c.err
		}
	}
	return nil
}
