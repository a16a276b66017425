package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice/guest/wire"
)

// A command is a running shell and all that it started: its own session,
// process group and cgroup.
type command struct {
	process        *os.Process
	ending         *os.File // a pidfd: readable when the main process has ended
	group          *cgroup  // nil where there are none
	stdin          *os.File // nil if it has none
	stdout, stderr *os.File

	mu       sync.Mutex
	ended    bool // the main process has; what it left behind stays
	timedOut bool
}

// start starts a command as a user.
func (a *Agent) start(spec *wire.Exec) (*command, error) {
	u, err := a.lookUp(spec.User)
	if err != nil {
		return nil, err
	}
	shell := "/bin/bash"
	if _, err := os.Stat(shell); err != nil {
		shell = "/bin/sh"
	}
	dir, err := u.workDir(spec.Dir)
	if err != nil {
		return nil, err
	}
	path, args := shell, []string{shell, "-c", spec.Command}
	if spec.SFTP {
		path, args = "/proc/self/exe", []string{SFTPServer} // which is this program, whoever runs it
	}
	return a.startProcess(&exec.Cmd{
		Path:        path,
		Args:        args,
		Dir:         dir,
		Env:         append(a.environment(u, shell), spec.Env...),
		SysProcAttr: &syscall.SysProcAttr{Credential: u.credential(), Setsid: true},
	}, spec.Stdin)
}

// environment is what a user's commands find in theirs, in the VM that this is now.
func (a *Agent) environment(u user, shell string) []string {
	a.self.mu.Lock()
	defer a.self.mu.Unlock()
	return u.environment(shell, a.self.vm)
}

// workDir returns the directory a command runs in: the home if there is one
// and no other is asked for.
func (u user) workDir(asked string) (string, error) {
	dir := u.abs(asked)
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return dir, nil
	case asked == "":
		return "/", nil
	case err == nil:
		err = &fs.PathError{Op: "run in", Path: dir, Err: syscall.ENOTDIR}
	}
	return "", err
}

// startProcess starts cmd, with its ends of the pipes and a cgroup of its own.
func (a *Agent) startProcess(cmd *exec.Cmd, stdin bool) (c *command, err error) {
	c = &command{}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
		if err != nil {
			c.release()
			for _, f := range []*os.File{c.stdout, c.stderr} {
				if f != nil {
					f.Close()
				}
			}
		}
	}()
	if stdin {
		r, w, err := os.Pipe()
		if err != nil {
			return c, err
		}
		c.stdin, cmd.Stdin, theirs = w, r, append(theirs, r)
	}
	for _, out := range []struct {
		ours   **os.File
		theirs *io.Writer
	}{{&c.stdout, &cmd.Stdout}, {&c.stderr, &cmd.Stderr}} {
		r, w, err := os.Pipe()
		if err != nil {
			return c, err
		}
		*out.ours, *out.theirs, theirs = r, w, append(theirs, w)
	}
	return c, c.launch(a, cmd)
}

// launch starts cmd in a cgroup of its own. If it fails the caller releases c.
func (c *command) launch(a *Agent, cmd *exec.Cmd) error {
	if c.group = a.cgroup.create(); c.group != nil {
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = c.group.fd()
	}
	var pidfd int
	cmd.SysProcAttr.PidFD = &pidfd
	if err := cmd.Start(); err != nil {
		return err
	}
	c.process = cmd.Process
	unix.SetNonblock(pidfd, true) // or a thread would wait for each command
	c.ending = os.NewFile(uintptr(pidfd), "pidfd")
	return nil
}

// release lets go of what the command has no more use for.
func (c *command) release() {
	for _, f := range []*os.File{c.stdin, c.ending} {
		if f != nil {
			f.Close()
		}
	}
	if c.group != nil {
		c.group.release()
	}
}

// kill kills every process of the command, unless its main process has ended.
func (c *command) kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	if c.group != nil {
		return c.group.kill()
	}
	return killSession(c.process.Pid)
}

// wait returns how the main process ended, when it has. After a timeout (0 is
// none) the command is killed. Of what the command used, the caller closes the
// outputs; wait, which is called once, sees to the rest.
func (c *command) wait(timeout time.Duration) (wire.Exited, error) {
	defer c.release()
	if timeout > 0 {
		defer time.AfterFunc(timeout, func() {
			c.mu.Lock()
			c.timedOut = !c.ended
			c.mu.Unlock()
			c.kill()
		}).Stop()
	}
	status, err := c.reap()
	if err != nil {
		return wire.Exited{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timedOut {
		return wire.Exited{Code: 124, TimedOut: true}, nil
	}
	code, signal := exit(status)
	return wire.Exited{Code: code, Signal: signal}, nil
}

// reap returns the status of the main process, when it has ended.
func (c *command) reap() (syscall.WaitStatus, error) {
	if err := c.awaitEnd(); err != nil {
		return 0, fmt.Errorf("wait for the command: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	state, err := c.process.Wait()
	if err != nil {
		return 0, err
	}
	return state.Sys().(syscall.WaitStatus), nil
}

// exit is a status as shells say it, and the signal if there was one.
func exit(status syscall.WaitStatus) (code int, signal string) {
	if status.Signaled() {
		return 128 + int(status.Signal()), unix.SignalName(status.Signal())
	}
	return status.ExitStatus(), ""
}

// signal sends a signal to the main process, unless it has ended.
func (c *command) signal(sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	return unix.Kill(c.process.Pid, sig)
}

// awaitEnd returns when the main process has ended. It leaves it a zombie, so
// that kill never meets another one of its number.
func (c *command) awaitEnd() error {
	conn, err := c.ending.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Read(func(fd uintptr) bool {
		failed = unix.Waitid(unix.P_PIDFD, int(fd), nil, unix.WEXITED|unix.WNOWAIT, nil)
		return failed != unix.EAGAIN
	})
	return errors.Join(err, failed)
}
