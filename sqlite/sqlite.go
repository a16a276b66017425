// Package sqlite remembers VMs, captures, and who may use them in one SQLite file: one
// writer, any number of readers, embedded migrations.
//
// What a method has acknowledged is on the disk: every commit is synced. Times
// are kept as instants to the nanosecond, between the years 1678 and 2262, and
// come back in UTC.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"modernc.org/sqlite"
)

// A DB is every port that remembers, in one file: a [coppice.Store], a
// [coppice.Captures], a [coppice.Accounts] and so on. Its methods may be called concurrently.
type DB struct {
	write *sql.DB // one connection, so that writers queue here and not on SQLite's lock
	read  *sql.DB
}

// Open opens the database in the file path, which it makes, readable by its
// owner only, if it is not there. An older version is migrated. A file of
// another application or of a newer version is refused and left as it is. The
// caller closes it.
func Open(ctx context.Context, path string) (*DB, error) {
	db, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	return db, nil
}

func open(ctx context.Context, path string) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// SQLite would make the file with the umask's mode; its journals take the file's.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}

	write, err := connect(path, 1, url.Values{"_txlock": {"immediate"}, "_synchronous": {"FULL"}})
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, write, path); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read, err := connect(path, max(4, runtime.NumCPU()), url.Values{"_query_only": {"1"}})
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	return &DB{write: write, read: read}, nil
}

// connect returns a pool of at most n connections.
func connect(path string, n int, params url.Values) (*sql.DB, error) {
	params.Set("_busy_timeout", "10000") // ms; only another process can make us wait
	params.Set("_foreign_keys", "1")
	params.Set("_dqs", "0")
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: params.Encode()}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(keeper{connector})
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// prepare brings the file to the version of this program and to WAL mode,
// which it then stays in. The migrations come first: they refuse a file that
// is not ours, which must not be touched.
func prepare(ctx context.Context, db *sql.DB, path string) error {
	if err := yield(path); err != nil {
		return err
	}
	if err := migrate(ctx, db); err != nil {
		return err
	}
	var mode string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("the file system allows no write-ahead log: journal mode is %s", mode)
	}
	return reserve(path)
}

// Close waits for calls in flight and closes the database.
func (db *DB) Close() error {
	// The writer last: the last connection to close folds the log into the file.
	return errors.Join(db.read.Close(), db.write.Close())
}
