package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

// applicationID marks the file as ours: "copp" in ASCII.
const applicationID = 0x636f7070

// migrations holds one file for each version, in order of their names. A file
// that was released never changes.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the file to the newest version, one transaction a version.
func migrate(ctx context.Context, db *sql.DB) error {
	names, err := fs.Glob(migrations, "migrations/*.sql") // sorted
	if err != nil {
		return err
	}
	for {
		version, err := step(ctx, db, names)
		if err != nil || version == len(names) {
			return err
		}
	}
}

// step brings the file from its version to the next, if there is one, and
// returns the version it then has.
func step(ctx context.Context, db *sql.DB, names []string) (version int, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	version, err = currentVersion(ctx, tx)
	switch {
	case err != nil:
		return 0, err
	case version > len(names):
		return 0, fmt.Errorf("it has version %d, this coppice knows versions up to %d: use a newer coppice", version, len(names))
	case version == len(names):
		return version, nil
	}
	script, err := migrations.ReadFile(names[version])
	if err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(ctx, string(script)); err != nil {
		return 0, fmt.Errorf("%s: %w", names[version], err)
	}
	version++
	// PRAGMA takes no parameters.
	mark := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version)
	if _, err := tx.ExecContext(ctx, mark); err != nil {
		return 0, err
	}
	return version, tx.Commit()
}

// currentVersion returns the version of the file, 0 if it is new, or why it is not ours.
func currentVersion(ctx context.Context, tx *sql.Tx) (int, error) {
	var application, version, objects int
	err := tx.QueryRowContext(ctx, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`).Scan(&application, &version, &objects)
	switch {
	case err != nil:
		return 0, err
	case application == applicationID:
		return version, nil
	case application != 0 || version != 0 || objects != 0:
		return 0, errors.New("it belongs to another application")
	}
	return 0, nil
}
