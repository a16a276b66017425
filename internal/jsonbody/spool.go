package jsonbody

import (
	"bytes"
	"errors"
	"io"
	"os"
)

const (
	spoolMemory = 1 << 20
	spoolLimit  = 4 << 30
)

// ErrTooLarge means that the content does not fit the spool.
var ErrTooLarge = errors.New("the content is too large for the spool")

// A spool keeps what is written to it until it is read: a little in memory,
// more in a file without a name.
type spool struct {
	dir  string
	mem  bytes.Buffer
	file *os.File
	size int64
}

func newSpool(dir string) *spool { return &spool{dir: dir} }

func (s *spool) Write(p []byte) (int, error) {
	if s.size += int64(len(p)); s.size > spoolLimit {
		return 0, ErrTooLarge
	}
	if s.file == nil && s.mem.Len()+len(p) <= spoolMemory {
		return s.mem.Write(p)
	}
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, "upload-")
		if err != nil {
			return 0, err
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return 0, err
		}
	}
	return s.file.Write(p)
}

// reader returns what was written, from the start. It is called once.
func (s *spool) reader() (io.Reader, error) {
	if s.file == nil {
		return &s.mem, nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.MultiReader(&s.mem, s.file), nil
}

func (s *spool) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
