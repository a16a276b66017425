package agent

import (
	"fmt"
	"io"
	"testing"

	"github.com/coppice-vm/coppice/guest/wire"
)

// What a typist types is taken once, and few typists are remembered.
func TestTypists(t *testing.T) {
	terminal := &terminal{input: newInput(), done: make(chan struct{})}
	attached := make(chan struct{})
	take := func(id string, after int64, typed, want string) {
		t.Helper()
		if err := terminal.take(id, after, []byte(typed), attached); err != nil {
			t.Fatal(err)
		}
		got := <-terminal.input.pieces
		<-terminal.input.room
		if string(got) != want {
			t.Errorf("of %q after %d bytes of %s's %q was taken, want %q", typed, after, id, got, want)
		}
	}
	take("alice", 0, "abc", "abc")
	take("alice", 0, "abcde", "de")
	take("alice", 1, "bc", "")
	take("bob", 0, "abc", "abc")
	take("alice", 4, "efg", "fg")
	take("carol", 100, "abc", "abc") // of whom this terminal has not heard
	take("carol", 102, "cd", "d")

	for i := range typistsKept - 1 {
		take(fmt.Sprint(i), 0, "x", "x")
	}
	take("carol", 102, "cd", "") // the last of those before
	take("alice", 0, "abc", "abc")
	if n := len(terminal.input.typists); n != typistsKept {
		t.Errorf("%d typists are remembered, want %d", n, typistsKept)
	}

	for range inputKept {
		if err := terminal.take("alice", 3, nil, attached); err != nil {
			t.Fatal(err)
		}
	}
	close(attached)
	if err := terminal.take("alice", 3, []byte("d"), attached); err != errLeft {
		t.Errorf("taken from who has left, for whom there was no room: %v", err)
	}
	terminal.ended = new(wire.Ended)
	if err := terminal.take("alice", 3, []byte("d"), attached); err != io.ErrClosedPipe {
		t.Errorf("taken after the end: %v", err)
	}
}
