package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/internal/failpoint"
)

var (
	claimed     = failpoint.New("host/claim/locked")
	claimOpen   = failpoint.New("host/claim/emptied")
	claimNamed  = failpoint.New("host/claim/named")
	claimClosed = failpoint.New("host/release/emptied")
)

var (
	// ErrClaimed means that another process serves the data directory.
	ErrClaimed = errors.New("another coppice serves this data directory")
	// ErrNoDaemon means that no process serves the data directory.
	ErrNoDaemon = errors.New("no coppice serves this data directory")
)

// A Claim is a process's right to serve a data directory. It ends with Release
// or with the process, whichever is first: the kernel keeps it, as a lock on
// the pid file.
type Claim struct {
	dir  Dir
	file *os.File
}

// Claim makes the calling process the only one that serves the directory, writes
// who it is to the pid file, and removes the files that an earlier one did not
// write to their end. [ErrClaimed] if there is one already.
func (d Dir) Claim() (*Claim, error) {
	// Opened without O_TRUNC: until the lock is ours, what it says is another's.
	f, err := os.OpenFile(d.PIDFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, ErrClaimed
		}
		return nil, fmt.Errorf("lock %s: %w", d.PIDFile(), err)
	}
	c := &Claim{dir: d, file: f}
	self, err := inspect(os.Getpid())
	if err == nil {
		err = c.write(self)
	}
	if err == nil {
		err = d.clear()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return c, nil
}

func (c *Claim) write(p Process) error {
	ctx := context.Background()
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := claimed.Hit(ctx); err != nil {
		return err
	}
	// In place: a rename would leave the lock on a file without a name.
	if err := c.file.Truncate(0); err != nil {
		return err
	}
	if err := claimOpen.Hit(ctx); err != nil {
		return err
	}
	if _, err := c.file.WriteAt(append(b, '\n'), 0); err != nil {
		return err
	}
	return claimNamed.Hit(ctx)
}

// Release gives the directory up. Calling it again does nothing.
func (c *Claim) Release() error {
	if c.file == nil {
		return nil
	}
	// The file stays: removing it would race with the next claim.
	err := errors.Join(c.file.Truncate(0), claimClosed.Hit(context.Background()), c.file.Close())
	c.file = nil
	return err
}

// dyingTime is how long a process that was killed may take to let go of its
// lock: it is not to be found any more before it has.
const dyingTime = 5 * time.Second

// errUnnamed means that a pid file is locked, and does not say by whom.
var errUnnamed = errors.New("it is locked by another process than it names")

// Daemon returns the process that serves the directory. [ErrNoDaemon] if none does.
func (d Dir) Daemon() (Process, error) {
	for end := time.Now().Add(dyingTime); ; time.Sleep(10 * time.Millisecond) {
		p, err := d.holder()
		if !errors.Is(err, errUnnamed) || time.Now().After(end) {
			return p, err
		}
	}
}

// holder returns the process that has locked the pid file.
func (d Dir) holder() (Process, error) {
	f, err := os.Open(d.PIDFile())
	if errors.Is(err, os.ErrNotExist) {
		return Process{}, ErrNoDaemon
	}
	if err != nil {
		return Process{}, err
	}
	defer f.Close()
	// The lock, not the text, says whether anyone is there. It is looked at and
	// not taken, so that looking never makes a claim fail.
	lock := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return Process{}, fmt.Errorf("look at the lock of %s: %w", d.PIDFile(), err)
	}
	if lock.Type == unix.F_UNLCK {
		return Process{}, ErrNoDaemon
	}
	var p Process
	if err := json.NewDecoder(f).Decode(&p); err != nil {
		return Process{}, fmt.Errorf("%s: %w: %w", d.PIDFile(), errUnnamed, err)
	}
	if now, err := inspect(p.PID); err != nil || now.Start != p.Start || now.Boot != p.Boot {
		return Process{}, fmt.Errorf("%s: %w, which is process %d", d.PIDFile(), errUnnamed, p.PID)
	}
	return p, nil
}
