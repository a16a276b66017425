// Package ptrace has a running process make system calls that are not in its
// program: to clone itself ([Freezer]), and to map another file in place of
// what it has mapped ([Remapper]).
//
// The process's main thread is stopped, makes the call, and goes on where it was.
//
// No other thread of the caller may wait for any child whatever, or for one of
// these processes: it would get what the tracing thread waits for.
package ptrace

// An Area is a range of addresses.
type Area struct{ Start, End uint64 }

func (a Area) overlaps(b Area) bool { return a.Start < b.End && b.Start < a.End }
