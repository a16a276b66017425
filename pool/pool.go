package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
	"github.com/coppice-vm/coppice/internal/reflink"
)

// Between the side effects of what the pool does.
var (
	filled     = failpoint.New("pool/create/filled")
	fileSynced = failpoint.New("pool/sync/file")
	movedAway  = failpoint.New("pool/remove/moved")
)

// reserveBytes are left free for what exists already: guests write without
// asking, and a file system without a free block stops them.
const reserveBytes = 256 << 20

// A Pool is a [coppice.Pool] in a directory. Its methods may be called
// concurrently, but not for the same VM or capture.
type Pool struct {
	root string
	log  *slog.Logger
	lock *os.File      // the directory, locked
	seq  atomic.Uint64 // makes names under tmp/ unique
}

// Open opens the pool in dir, which must exist, and removes what an earlier
// process left unfinished there. The file system must be able to share blocks.
// The pool belongs to the caller alone until it closes it, or ends.
func Open(dir string, log *slog.Logger) (*Pool, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open pool %s: %w", dir, err)
	}
	p := &Pool{root: root, log: log}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("open pool %s: %w", dir, errors.Join(err, p.Close()))
	}
	return p, nil
}

func (p *Pool) open() (err error) {
	if p.lock, err = os.Open(p.root); err != nil {
		return err
	}
	err = unix.Flock(int(p.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errors.New("another process uses it")
	}
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	ok, err := reflink.Supported(p.root)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("its file system cannot share blocks between files: use XFS (mkfs.xfs -m reflink=1) or btrfs")
	}
	for _, name := range []string{imagesDir, vmsDir, capturesDir, tmpDir} {
		if err := os.Mkdir(p.path(name), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return p.sweep()
}

// sweep empties tmp/.
func (p *Pool) sweep() error {
	entries, err := os.ReadDir(p.path(tmpDir))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		p.log.Info("removing what was left unfinished in the pool", "name", entry.Name())
		if err := os.RemoveAll(p.path(tmpDir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Close lets another process open the pool. The files stay.
func (p *Pool) Close() error {
	if p.lock == nil {
		return nil
	}
	return p.lock.Close()
}

// Clone implements [coppice.Pool].
func (p *Pool) Clone(ctx context.Context, dst, src string) error {
	return failure("clone", reflink.Clone(dst, src))
}

// room returns [coppice.ErrNoSpace] when something new would take what is kept
// in reserve.
func (p *Pool) room() error {
	usage, err := usage(p.root)
	if err != nil {
		return err
	}
	if usage.FreeBytes < reserveBytes {
		return fmt.Errorf("%w: %d MiB are free, and %d MiB are kept for what is there already",
			coppice.ErrNoSpace, usage.FreeBytes>>20, int64(reserveBytes)>>20)
	}
	return nil
}

// create makes the directory dir with what fill puts into it, if there is
// room. An error from fill or on the way leaves nothing.
func (p *Pool) create(ctx context.Context, dir string, fill func(dir string) error) (err error) {
	if err := p.room(); err != nil {
		return err
	}
	tmp := p.temporary(filepath.Base(dir))
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if err := fill(tmp); err != nil {
		return err
	}
	if err := filled.Hit(ctx); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

// syncAll makes a directory durable, with the files in it and its name.
func syncAll(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := syncFile(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
		if err := fileSynced.Hit(ctx); err != nil {
			return err
		}
	}
	return errors.Join(syncFile(dir), syncFile(filepath.Dir(dir)))
}

// remove removes a directory and what is in it, and what an earlier attempt to
// left. nil if it is not there.
func (p *Pool) remove(ctx context.Context, dir string) error {
	tmp := p.temporary(filepath.Base(dir))
	err := os.Rename(dir, tmp)
	switch {
	case err == nil:
		if err := movedAway.Hit(ctx); err != nil {
			return err
		}
		return os.RemoveAll(tmp)
	case errors.Is(err, os.ErrNotExist):
		return p.removeMoved(filepath.Base(dir))
	case errors.Is(err, unix.ENOSPC):
		// A full file system may have no block for one more name in tmp/. Then
		// the files go one by one, and a crash in between leaves some of them.
		return os.RemoveAll(dir)
	}
	return err
}

// removeMoved removes what is under tmp/ of a directory of that name.
func (p *Pool) removeMoved(name string) error {
	moved, err := filepath.Glob(p.path(tmpDir, name+".*")) // an id has nothing that Glob knows
	for _, dir := range moved {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// temporary returns a name under tmp/ that nothing else has.
func (p *Pool) temporary(name string) string {
	return p.path(tmpDir, fmt.Sprintf("%s.%d", name, p.seq.Add(1)))
}

// syncFile makes a file or a directory durable.
func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ids lists a directory's names that are valid ids.
func ids[ID interface {
	~string
	Valid() bool
}](dir string) ([]ID, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ids []ID
	for _, entry := range entries {
		if id := ID(entry.Name()); id.Valid() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// failure returns err, if there is one, with what failed and with
// [coppice.ErrNoSpace] where the file system is full.
func failure(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("pool: %s: %w (%w)", what, coppice.ErrNoSpace, err)
	}
	return fmt.Errorf("pool: %s: %w", what, err)
}
