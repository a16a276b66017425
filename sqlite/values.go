package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/coppice-vm/coppice"
)

// An instant is a time in a column: nanoseconds since 1970, NULL for the zero time.
type instant time.Time

// Value implements [driver.Valuer].
func (i instant) Value() (driver.Value, error) {
	t := time.Time(i)
	if t.IsZero() {
		return nil, nil
	}
	if ns := t.UnixNano(); time.Unix(0, ns).Equal(t) {
		return ns, nil
	}
	return nil, fmt.Errorf("time %v is out of range", t)
}

// Scan implements [database/sql.Scanner].
func (i *instant) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*i = instant{}
	case int64:
		*i = instant(time.Unix(0, v).UTC())
	default:
		return fmt.Errorf("time is a %T", value)
	}
	return nil
}

// known returns err with the port's word for a constraint it tells of, if there is one.
func known(err error) error {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w (%w)", coppice.ErrExists, err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w (%w)", coppice.ErrNoAccount, err) // the only reference there is
	}
	return err
}
