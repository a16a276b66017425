package coppice

import (
	"context"
	"io"
	"io/fs"
	"net"
	"time"
)

// A Guest reaches the agents inside VMs. Nothing an agent says is trusted: its
// answers are bounded in size and time, and never more than data.
type Guest interface {
	// Connect opens a session with the agent at the other end of dial, which is
	// called for a new stream whenever the last one broke. It returns when the
	// agent has taken id, before which the agent lets nothing else in.
	Connect(ctx context.Context, dial func(context.Context) (net.Conn, error), id GuestIdentity) (Session, error)
}

// A GuestIdentity tells a guest who it is and what time it is.
type GuestIdentity struct {
	VM       VMID
	Instance InstanceID
	Hostname string
	// Fresh is true if the guest has never been this VM before, or was another
	// run of it: keys and ids are renewed and hooks run. False when only the
	// daemon's connection is new.
	Fresh bool
}

// A Session is a connection to one guest's agent. It reconnects by itself; a
// call that was in flight when the stream broke fails with [ErrGuestGone].
type Session interface {
	// Exec runs a command and returns when its main process has ended, even if
	// children of it keep its pipes open. When ctx ends, every process of the command is killed.
	Exec(ctx context.Context, spec ExecSpec, stdio Stdio) (ExecStatus, error)
	// SetClock sets the guest's wall clock by the host's, as Connect does.
	SetClock(ctx context.Context) error
	// Shutdown asks the guest's init to power off, and returns when it has been asked.
	Shutdown(ctx context.Context) error
	// Files returns the guest's files as user sees them; empty is root.
	Files(user string) GuestFiles
	GuestSockets
	// Terminals returns the guest's terminals as user sees them; empty is root.
	Terminals(user string) GuestTerminals
	// Close ends the session and every call in flight. The guest goes on.
	Close() error
}

// GuestSockets are the sockets of a guest as a process of a user's in it sees
// them, so that what only the guest's loopback reaches is in reach. user is a
// name or number; empty is root. network is "tcp", with an address host:port
// that the guest resolves, or "unix", with a path.
type GuestSockets interface {
	// Dial connects to a socket. The error wraps [syscall.ECONNREFUSED] if nobody
	// listens, and [fs.ErrNotExist] or [fs.ErrPermission] for such a path. The
	// connection can be closed for writing only (CloseWrite); it outlives ctx,
	// and breaks with the session's stream. The receiver closes it.
	Dial(ctx context.Context, user, network, address string) (net.Conn, error)
	// Listen listens on a socket, until the listener is closed or the session's
	// stream breaks. Port 0 takes a free one; those below 1024 are root's. The
	// path of a unix socket is the user's, for nobody else, and goes with the
	// listener. The error wraps [syscall.EADDRINUSE] if the address is taken.
	Listen(ctx context.Context, user, network, address string) (net.Listener, error)
}

// An ExecSpec is a command for a guest.
type ExecSpec struct {
	// Command is a script for the user's shell (bash where the guest has it, else sh).
	Command string
	// SFTP is true to serve the user's files by the SSH file transfer protocol,
	// version 3, on the standard streams in place of a command. The guest needs
	// no program for it.
	SFTP bool
	// User by name or number; empty is root. [ErrNoUser] if the guest does not know it.
	User string
	// Dir to run in; empty is the user's home.
	Dir string
	// Env is added to the standard environment, as KEY=value.
	Env []string
	// Timeout after which every process of the command is killed; 0 is none.
	Timeout time.Duration
}

// Stdio is what a command reads and writes. A nil Stdin is empty; a nil writer discards.
type Stdio struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Signals are sent to the command's main process, by names like "SIGTERM".
	// What is no signal is not sent; nil is none.
	Signals <-chan string
}

// ExecStatus is how a command ended.
type ExecStatus struct {
	// Code is the exit status, or 128 and the signal's number.
	Code int
	// Signal that ended it, like "SIGKILL"; empty if it ended by itself.
	Signal string
	// TimedOut is true if Timeout passed; Code is then 124.
	TimedOut bool
}

// GuestFiles is the file system of a guest as one user sees it. Relative names
// start at the user's home. Errors wrap [fs.ErrNotExist], [fs.ErrPermission],
// [fs.ErrInvalid] (for what the file's kind does not allow) where they apply.
type GuestFiles interface {
	// Open returns a file for reading, or for a directory its entries.
	Open(ctx context.Context, name string) (GuestFile, error)
	// Write replaces a file by what it reads from r, atomically: readers see
	// the old content or the new one. Parents are made; the old mode and owner
	// are kept, a new file has mode.
	Write(ctx context.Context, name string, mode fs.FileMode, r io.Reader) error
	// Watch reports changes below dir until ctx ends, whose error it returns.
	Watch(ctx context.Context, dir string, event func(FileEvent)) error
}

// A GuestFile is an open file or directory of a guest. The receiver closes Content.
type GuestFile struct {
	Dir     bool
	Mode    fs.FileMode
	Size    int64
	Content io.ReadCloser // nil for a directory
	Entries []DirEntry    // sorted by name; for a directory only
}

// A DirEntry is one name in a directory.
type DirEntry struct {
	Name string
	Dir  bool
}

// A FileEvent is a change in a watched directory.
type FileEvent struct {
	Type string // "create", "modify", "delete" or "rename"
	Name string // relative to the watched directory
}
