package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"os"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"

	"github.com/coppice-vm/coppice/internal/fallocate"
)

// reserveBytes are set aside on the disk for the write-ahead log, so that some
// thousand rows can still be changed when it is full: else nothing could be
// deleted there. SQLite starts the log over every 4 MiB.
const reserveBytes = 8 << 20

// openBytes are set aside for opening the database, when SQLite makes its index
// of the log anew: 32 KiB, and what the file system needs to find them. XFS has
// up to 8192 blocks for its own use when the disk is full, and of what is given
// back it first makes up for those that it took.
const openBytes = 32<<20 + 256<<10

// yield gives back what was set aside for opening the database in the file path.
func yield(path string) error { return setAside(path+"-reserve", 0) }

// reserve sets space aside for the log of the database in the file path, and for
// the next time that it is opened, as far as there is any.
func reserve(path string) error {
	return errors.Join(setAside(path+"-wal", reserveBytes), setAside(path+"-reserve", openBytes))
}

// setAside gives a file space that is not used yet, or takes it away.
func setAside(name string, bytes int64) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if bytes == 0 {
		err = f.Truncate(0) // drops what is beyond the end, too
	} else {
		err = allocate(int(f.Fd()), bytes)
	}
	return errors.Join(err, f.Close())
}

// allocate gives a file as much of so many bytes as there are.
func allocate(fd int, bytes int64) error {
	for had, piece := int64(0), bytes; had < bytes && piece > 0; {
		switch err := fallocate.Reserve(fd, had, min(piece, bytes-had)); err {
		case nil:
			had += piece
		case unix.ENOSPC:
			piece = piece / 2 &^ 4095
		case unix.EOPNOTSUPP:
			return nil
		default:
			return err
		}
	}
	return nil
}

// A keeper makes connections that leave the log, and with it what is set aside
// for it, when they close.
type keeper struct{ driver.Connector }

func (k keeper) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(sqlite.FileControl).FileControlPersistWAL("main", 1); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
