package e2e

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/client"
)

// shows reads a terminal until it shows something.
func shows(t *testing.T, terminal *client.Terminal, text string) {
	t.Helper()
	var seen bytes.Buffer
	buf := make([]byte, 32<<10)
	for !strings.Contains(seen.String(), text) {
		n, err := terminal.Read(buf)
		if seen.Write(buf[:n]); err != nil {
			t.Fatalf("the terminal ended with %v before it showed %q: %q", err, text, seen.String())
		}
	}
}

// types types a line.
func types(t *testing.T, terminal *client.Terminal, line string) {
	t.Helper()
	if _, err := terminal.Write([]byte(line + "\r")); err != nil {
		t.Fatal(err)
	}
}

// attach attaches to a terminal of root's.
func attach(t *testing.T, c *client.Client, vm, id string) *client.Terminal {
	t.Helper()
	terminal, err := c.AttachTerminal(deadline(t), vm, id, "", coppice.TerminalSize{Cols: 90, Rows: 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal
}

// A shell, with what it knows and shows, lives through the loss of its client,
// of the daemon, a suspend and a fork.
func TestTerminalLivesOn(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	terminal, err := c.OpenTerminal(deadline(t), vm, client.NewTerminal{ID: "work", Size: coppice.TerminalSize{Cols: 90, Rows: 30}})
	if err != nil {
		t.Fatal(err)
	}
	types(t, terminal, "shell=$$; tty; stty size")
	shows(t, terminal, "/dev/pts/0\r\n30 90\r\n")
	terminal.Close()

	terminal = attach(t, c, vm, "work")
	shows(t, terminal, "30 90")
	kill(t, daemon(t))
	if _, err := io.Copy(io.Discard, terminal); err == nil {
		t.Error("a terminal outlives the daemon that it was attached by")
	}
	restartDaemon(t)
	terminal = attach(t, c, vm, "work")
	shows(t, terminal, "30 90")
	types(t, terminal, "test $shell = $$ && echo same' 'shell")
	shows(t, terminal, "same shell\r\n")

	// A suspended VM does not wake by a connection, but by what is typed.
	if _, err := c.Suspend(deadline(t), vm); err != nil {
		t.Fatal(err)
	}
	awaitState(t, c, vm, "suspended")
	types(t, terminal, "echo woken' 'up")
	shows(t, terminal, "30 90")
	shows(t, terminal, "woken up\r\n")

	types(t, terminal, "echo before' 'the fork")
	shows(t, terminal, "before the fork\r\n")
	child := fork(t, c, vm, 1)[0]
	list, err := c.Terminals(deadline(t), child, "")
	if err != nil || len(list.Sessions) != 1 || list.Sessions[0].SessionID != "work" || list.Sessions[0].AttachedCount != 0 {
		t.Errorf("the child's terminals: %+v, %v", list, err)
	}
	twin := attach(t, c, child, "work")
	shows(t, twin, "before the fork")
	types(t, twin, "test $shell = $$ && echo in' 'the child; exit 7")
	shows(t, twin, "in the child\r\n")
	if _, err := io.Copy(io.Discard, twin); err != nil || twin.ExitCode() != 7 {
		t.Errorf("the child's shell ended with %d and %v", twin.ExitCode(), err)
	}
	types(t, terminal, "echo in' 'the parent")
	shows(t, terminal, "in the parent\r\n")

	if closed, err := c.CloseTerminal(deadline(t), vm, "work", ""); err != nil || closed.ExitCode == nil || *closed.ExitCode != 129 {
		t.Errorf("closed: %+v, %v", closed, err)
	}
}

// The SDK's terminals, by the SDK itself with the ws package.
func TestNPMTerminals(t *testing.T) {
	sdk(t, "pty.test.mjs")
}
