package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/client"
)

// A window is a terminal of this machine with a coppice shell on it.
type window struct {
	t             *testing.T
	master, slave *os.File
	cooked        unix.Termios // what it was before
	cmd           *exec.Cmd
	ended         chan error
	seen          bytes.Buffer // what it has shown and shows has not gone past
}

// openWindow runs coppice on a new terminal.
func openWindow(t *testing.T, cols, rows uint16, args ...string) *window {
	t.Helper()
	w := &window{t: t, ended: make(chan error, 1)}
	var err error
	if w.master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.master.Close() })
	var peer uintptr
	w.control(func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		var errno syscall.Errno
		if peer, _, errno = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC); errno != 0 {
			return errno
		}
		return nil
	})
	w.slave = os.NewFile(peer, "terminal")
	t.Cleanup(func() { w.slave.Close() })
	w.cooked = w.settings()
	w.resize(cols, rows)

	w.cmd = exec.CommandContext(t.Context(), install.program, args...)
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = w.slave, w.slave, w.slave
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	w.cmd.Env = append(os.Environ(), "TERM=xterm")
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { w.ended <- w.cmd.Wait() }()
	return w
}

// control calls do with the terminal's descriptor.
func (w *window) control(do func(fd int) error) {
	w.t.Helper()
	conn, err := w.master.SyscallConn()
	if err == nil {
		failed := conn.Control(func(fd uintptr) { err = do(int(fd)) })
		if failed != nil {
			err = failed
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *window) settings() (s unix.Termios) {
	w.t.Helper()
	w.control(func(fd int) error {
		got, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			s = *got
		}
		return err
	})
	return s
}

// resize makes the window another size, of which its program is told.
func (w *window) resize(cols, rows uint16) {
	w.t.Helper()
	w.control(func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows})
	})
}

// types presses keys.
func (w *window) types(keys string) {
	w.t.Helper()
	if _, err := io.WriteString(w.master, keys); err != nil {
		w.t.Fatal(err)
	}
}

// shows waits until the window shows something, after what it was seen to show before.
func (w *window) shows(text string) {
	w.t.Helper()
	w.master.SetReadDeadline(time.Now().Add(callDeadline))
	buf := make([]byte, 4096)
	for {
		if _, after, found := bytes.Cut(w.seen.Bytes(), []byte(text)); found {
			w.seen = *bytes.NewBuffer(bytes.Clone(after))
			return
		}
		n, err := w.master.Read(buf)
		if w.seen.Write(buf[:n]); err != nil {
			w.t.Fatalf("the window does not show %q: %v\n%q", text, err, w.seen.String())
		}
	}
}

// ends waits until the program has ended with a status, and checks that the
// terminal is as it was before.
func (w *window) ends(status int) {
	w.t.Helper()
	drained := make(chan struct{})
	w.master.SetReadDeadline(time.Time{})
	go func() { // or the program may wait to be read
		defer close(drained)
		io.Copy(&w.seen, w.master)
	}()
	select {
	case <-w.ended:
	case <-time.After(callDeadline):
		w.t.Fatal("the program does not end")
	}
	w.master.SetReadDeadline(time.Unix(1, 0))
	<-drained
	if got := w.cmd.ProcessState.ExitCode(); got != status {
		w.t.Errorf("it ended with %d, want %d: %q", got, status, w.seen.String())
	}
	if w.settings() != w.cooked {
		w.t.Errorf("the terminal is left as %+v; it was %+v", w.settings(), w.cooked)
	}
}

// A shell in a VM on a terminal of this machine, as people use it: keys go to
// the VM, also those that would end a program here; the window's size follows;
// it lives on when it is left or its daemon dies; and the terminal is in the end
// what it was before, whatever happened.
func TestShellOnATerminal(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	w := openWindow(t, 100, 30, "shell", vm, "--session", "work")
	w.shows("# ")
	raw := w.settings()
	if raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 || raw.Oflag&unix.OPOST != 0 {
		t.Errorf("while the shell runs the terminal is %+v, which is not raw", raw)
	}
	w.types("stty size; kept=here\r")
	w.shows("30 100\r\n")
	w.shows("# ")

	// Ctrl-C and Ctrl-Z are the VM's, as all that is typed.
	w.types("sh -c 'echo be\"\"gan; exec sleep 1000'\r") // in the foreground when it says so
	w.shows("began\r\n")
	w.types("\x03")
	w.shows("# ")
	w.types("echo status=$?\r")
	w.shows("status=130\r\n")

	w.resize(120, 40)
	w.types("until [ \"$(stty size)\" = '40 120' ]; do sleep 0.1; done; echo re'sized'\r")
	w.shows("resized\r\n")
	w.shows("# ")

	// The daemon is killed, and by the next one the shell comes back, which
	// draws its screen.
	killDaemon(t)
	restartDaemon(t)
	w.shows("resized")
	w.types("echo still $kept'.'\r")
	w.shows("still here.\r\n")

	w.types("\x1dd") // Ctrl-] d
	w.shows(fmt.Sprintf("[work goes on: coppice shell %s --session work]", vm))
	w.ends(0)
	await(t, "the terminal lives on with nobody attached", func() bool { // whoever leaves does not wait for the guest to know
		list, err := c.Terminals(deadline(t), vm, "")
		return err == nil && len(list.Sessions) == 1 && list.Sessions[0].ExitCode == nil && list.Sessions[0].AttachedCount == 0
	})

	// Who comes back finds what was on the screen, and its end is the program's.
	w = openWindow(t, 120, 40, "shell", vm, "--session", "work")
	w.shows("still here.")
	w.types("\x1d\x1d") // Ctrl-] itself
	w.types("\x15exit 7\r")
	w.ends(7)
}

// A daemon that dies for good takes the shell from the window, and nothing else.
func TestShellWithoutADaemon(t *testing.T) {
	c := connect(t)
	vm := create(t, c)
	waits, leaves := openWindow(t, 80, 24, "shell", vm), openWindow(t, 80, 24, "shell", vm)
	waits.shows("# ")
	leaves.shows("# ")
	killDaemon(t)
	leaves.types("\x1dd") // nobody has to wait
	leaves.ends(0)
	waits.ends(125)
	if !strings.Contains(waits.seen.String(), client.ErrUnreachable.Error()) && !strings.Contains(waits.seen.String(), "SERVICE_UNAVAILABLE") {
		t.Errorf("it says %q", waits.seen.String())
	}
	restartDaemon(t)
}
