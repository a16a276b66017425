package thread_test

import (
	"errors"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/internal/thread"
)

// No thread is used twice, and the main thread, which cannot end, never.
func TestRun(t *testing.T) {
	var mu sync.Mutex
	marked := map[int]bool{}
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			err := thread.Run(func() error {
				var name [16]byte
				if err := unix.Prctl(unix.PR_GET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); err != nil {
					return err
				}
				if unix.ByteSliceToString(name[:]) == "used" {
					return errors.New("it has been used before")
				}
				copy(name[:], "used\x00")
				mu.Lock()
				defer mu.Unlock()
				marked[unix.Gettid()] = true
				return unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if marked[unix.Getpid()] {
		t.Error("the main thread was used")
	}
}

func TestRunFails(t *testing.T) {
	want := errors.New("failed")
	if err := thread.Run(func() error { return want }); err != want {
		t.Errorf("err = %v, want %v", err, want)
	}
}
