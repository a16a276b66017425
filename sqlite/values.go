package sqlite

import (
	"database/sql/driver"
	"encoding/json"
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

// A hash is a column of 32 bytes.
type hash coppice.SecretHash

// Value implements [driver.Valuer].
func (h hash) Value() (driver.Value, error) { return h[:], nil }

// Scan implements [database/sql.Scanner].
func (h *hash) Scan(value any) error {
	b, ok := value.([]byte)
	if !ok || len(b) != len(h) {
		return fmt.Errorf("hash is a %T of the wrong size", value)
	}
	copy(h[:], b)
	return nil
}

// A list of strings is JSON in a column, NULL for nil.
type list []string

// Value implements [driver.Valuer].
func (l list) Value() (driver.Value, error) {
	if l == nil {
		return nil, nil
	}
	b, err := json.Marshal([]string(l))
	return string(b), err
}

// Scan implements [database/sql.Scanner].
func (l *list) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*l = nil
		return nil
	case string:
		return json.Unmarshal([]byte(v), (*[]string)(l))
	default:
		return fmt.Errorf("list is a %T", value)
	}
}

// known returns err with the port's word for a constraint it tells of, if
// there is one: orphan if a row refers to one that is not there.
func known(err, orphan error) error {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return fmt.Errorf("%w (%w)", coppice.ErrExists, err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w (%w)", orphan, err)
	case sqlite3.SQLITE_CONSTRAINT_TRIGGER: // all are about accounts that were deleted
		return fmt.Errorf("%w (%w)", coppice.ErrNoAccount, err)
	}
	return err
}
