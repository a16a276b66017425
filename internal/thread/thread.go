// Package thread runs code on threads whose state is changed in ways that no
// other goroutine is to see.
package thread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Run runs f on a thread of its own that is thrown away afterwards: whatever f
// did to it, no other goroutine gets it.
func Run(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot be thrown away, and is what /proc/self shows.
			// While this goroutine has it, the next gets another.
			defer runtime.UnlockOSThread()
			done <- Run(f)
			return
		}
		done <- f() // and never unlock
	}()
	return <-done
}
