package agent

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/screen"
	"github.com/coppice-vm/coppice/guest/wire"
)

// hangUpGrace is what a program has to end after its terminal was hung up.
const hangUpGrace = 2 * time.Second

// A terminal is a program on a pseudo-terminal, what its screen shows, and
// whoever is attached.
type terminal struct {
	id, command string
	user        user
	created     time.Time
	now         func() time.Time
	process     *command
	master      *os.File
	slave       *os.File // so that the terminal works though nothing has it open for a while
	input       *input
	done        chan struct{} // closed when the program has ended, and its output was read

	mu      sync.Mutex
	size    coppice.TerminalSize
	screen  *screen.Screen
	viewers []*viewer
	ended   *wire.Ended
}

// startTerminal starts a terminal to which v is attached.
func (a *Agent) startTerminal(u user, id string, spec *wire.NewTerminal, v *viewer) (*terminal, error) {
	t := &terminal{
		id: id, command: spec.Command, user: u, created: a.System.Now(), now: a.System.Now,
		process: &command{}, input: newInput(), done: make(chan struct{}),
		size: v.size, screen: screen.New(v.size.Cols, v.size.Rows), viewers: []*viewer{v},
	}
	dir, err := u.workDir(spec.Dir)
	if err != nil {
		return nil, err
	}
	master, slave, err := openPTY(u)
	if err != nil {
		return nil, err
	}
	t.master, t.slave = master, slave
	shell, args := u.login(spec.Command)
	env := append(a.environment(u, shell), "TERM=xterm-256color")
	err = setSize(master, t.size)
	if err == nil {
		err = t.process.launch(a, &exec.Cmd{
			Path: shell, Args: args, Dir: dir, Env: append(env, spec.Env...),
			Stdin: slave, Stdout: slave, Stderr: slave,
			SysProcAttr: &syscall.SysProcAttr{Credential: u.credential(), Setsid: true, Setctty: true},
		})
	}
	if err != nil {
		t.process.release()
		master.Close()
		slave.Close()
		return nil, err
	}
	go t.run()
	return t, nil
}

// login returns the user's shell, and how it is called for a command or, if
// there is none, as when the user logs in.
func (u user) login(command string) (shell string, args []string) {
	for _, shell = range []string{u.shell, "/bin/bash", "/bin/sh"} {
		if unix.Access(shell, unix.X_OK) == nil {
			break
		}
	}
	if command != "" {
		return shell, []string{shell, "-c", command}
	}
	return shell, []string{"-" + filepath.Base(shell)}
}

// run sees to the terminal until its program has ended.
func (t *terminal) run() {
	defer close(t.done)
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		t.relay()
	}()
	go t.passOn()
	status, err := t.process.reap()
	t.process.release()
	t.master.SetReadDeadline(time.Unix(1, 0))
	<-relayed
	t.drain()
	t.master.Close()
	t.slave.Close()
	ended := &wire.Ended{At: t.now().UnixNano(), Code: 255}
	if err == nil {
		ended.Code, ended.Signal = exit(status)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = ended
	for _, v := range t.viewers {
		v.wakeUp()
	}
}

// relay shows what programs write, until the terminal is closed or has a deadline.
func (t *terminal) relay() {
	buf := make([]byte, 16<<10)
	for {
		n, err := t.master.Read(buf)
		t.show(buf[:n])
		if err != nil {
			return
		}
	}
}

// drain shows what was written before the program ended. Others may have the
// terminal open and go on writing: it takes no more than a terminal holds.
func (t *terminal) drain() {
	buf := make([]byte, 16<<10)
	for range 8 {
		n := 0
		err := control(t.master, func(fd int) (err error) {
			n, err = unix.Read(fd, buf)
			return err
		})
		if n <= 0 || err != nil {
			return
		}
		t.show(buf[:n])
	}
}

// show puts output onto the screen, and before those who are attached.
func (t *terminal) show(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.screen.Write(p)
	for _, v := range t.viewers {
		v.add(p, v.size == t.size)
	}
}

// attach adds v, and returns what draws the screen for it.
func (t *terminal) attach(v *viewer) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.viewers = append(t.viewers, v)
	t.fit()
	v.missed, v.drawn = false, v.size != t.size
	return t.screen.DrawAll(v.size.Rows)
}

// leave removes v.
func (t *terminal) leave(v *viewer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.viewers = slices.DeleteFunc(t.viewers, func(other *viewer) bool { return other == v })
	t.fit()
}

// resize gives v's window another size.
func (t *terminal) resize(v *viewer, size coppice.TerminalSize) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fitted := v.size == t.size
	v.size = size
	t.fit()
	if fitted != (v.size == t.size) {
		v.redraw()
	}
}

// fit gives the terminal the smallest size of all that are attached. Who has
// another one, or had until now, is shown the screen anew. The caller holds t.mu.
func (t *terminal) fit() {
	if len(t.viewers) == 0 || t.ended != nil {
		return
	}
	old, size := t.size, t.viewers[0].size
	for _, v := range t.viewers {
		size.Cols, size.Rows = min(size.Cols, v.size.Cols), min(size.Rows, v.size.Rows)
	}
	if size == old {
		return
	}
	t.size = size
	t.screen.Resize(size.Cols, size.Rows)
	setSize(t.master, size) // it fails only if the program has just ended
	for _, v := range t.viewers {
		if v.size != size || v.drawn {
			v.redraw()
		}
	}
}

// signal sends a signal, as [coppice.Terminal] says.
func (t *terminal) signal(name string) error {
	sig := unix.SignalNum(name)
	if sig == 0 {
		return fmt.Errorf("there is no signal %.20q: %w", name, fs.ErrInvalid)
	}
	if sig != unix.SIGKILL && sig != unix.SIGHUP {
		if group, err := foreground(t.master); err == nil && group > 1 {
			err := unix.Kill(-group, sig)
			if err == unix.ESRCH { // it has just ended
				return nil
			}
			return err
		}
	}
	return t.process.signal(sig)
}

// hangUp ends the terminal and returns when its program has ended.
func (t *terminal) hangUp() {
	t.master.Close() // the kernel hangs up what runs in it
	insist := time.AfterFunc(hangUpGrace, func() { t.process.signal(unix.SIGKILL) })
	defer insist.Stop()
	<-t.done
}

// info says what is known of the terminal.
func (t *terminal) info() wire.TerminalInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	return wire.TerminalInfo{
		ID: t.id, User: t.user.name, Command: t.command[:min(len(t.command), wire.CommandShown)],
		Size: t.size, Attached: len(t.viewers), Created: t.created.UnixNano(), Ended: t.ended,
	}
}
