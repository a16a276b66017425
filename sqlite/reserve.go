package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"os"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
)

// reserveBytes are set aside on the disk for the write-ahead log, so that some
// thousand rows can still be changed when it is full: else nothing could be
// deleted there. SQLite starts the log over every 4 MiB.
const reserveBytes = 8 << 20

// reserve sets space aside for the log of the database in the file path, as
// far as there is any.
func reserve(path string) error {
	f, err := os.OpenFile(path+"-wal", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, reserveBytes)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EOPNOTSUPP) {
		err = nil
	}
	return errors.Join(err, f.Close())
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
