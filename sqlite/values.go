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

// A reference is the id of a row of another table, NULL for none.
type reference string

// Value implements [driver.Valuer].
func (r reference) Value() (driver.Value, error) {
	if r == "" {
		return nil, nil
	}
	return string(r), nil
}

// Scan implements [database/sql.Scanner].
func (r *reference) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*r = ""
	case string:
		*r = reference(v)
	default:
		return fmt.Errorf("reference is a %T", value)
	}
	return nil
}

// known returns err with the port's word for a constraint it tells of, if
// there is one: orphan if a row refers to one that is not there.
func known(err, orphan error) error {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w (%w)", coppice.ErrExists, err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w (%w)", orphan, err)
	}
	return err
}
