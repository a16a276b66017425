// Package fallocate gives files space and takes it from them: fallocate(2), which
// a signal can interrupt, and the Go runtime sends its threads signals.
package fallocate

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Reserve gives a file space that its content does not use yet, and leaves its size.
func Reserve(fd int, offset, length int64) error {
	return again(func() error { return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, offset, length) })
}

// Punch makes a part of a file a hole, which reads as zeroes, and leaves its size.
func Punch(fd int, offset, length int64) error {
	return again(func() error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
	})
}

// again makes a call until it is not interrupted.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
