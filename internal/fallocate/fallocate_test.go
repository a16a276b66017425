package fallocate

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReserveAndPunch(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		do   func(fd int, offset, length int64) error
		has  bool
		name string
	}{{Reserve, true, "reserved"}, {Punch, false, "punched"}} {
		var st unix.Stat_t
		if err := step.do(int(f.Fd()), 0, size); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Size != size || st.Blocks*512 >= size != step.has {
			t.Errorf("%s, it has %d bytes and %d blocks, %v", step.name, st.Size, st.Blocks, err)
		}
	}
}

func TestInterrupted(t *testing.T) {
	for _, last := range []error{nil, unix.ENOSPC} {
		answers := []error{unix.EINTR, unix.EINTR, last}
		err := again(func() error {
			next := answers[0]
			answers = answers[1:]
			return next
		})
		if err != last || len(answers) > 0 {
			t.Errorf("it ended with %v, and %d calls were not made; want %v", err, len(answers), last)
		}
	}
}
