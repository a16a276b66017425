package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/coppice-vm/coppice"
)

const (
	// hookDir has the executables that a restored guest runs, in the order of
	// their names, before anybody is let in.
	hookDir = "etc/coppice/fork.d"
	// hooksDeadline is what they have together.
	hooksDeadline = 20 * time.Second
)

// runHooks runs the guest's hooks, as root.
func (a *Agent) runHooks(ctx context.Context, vm coppice.VMID) error {
	entries, err := os.ReadDir(a.path(hookDir))
	if err != nil || len(entries) == 0 {
		return nil // it has none
	}
	root, err := a.lookUp("")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, hooksDeadline)
	defer cancel()
	var errs []error
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			continue
		}
		if err := a.runHook(ctx, entry.Name(), root.environment("/bin/sh", vm)); err != nil {
			errs = append(errs, fmt.Errorf("%s/%s: %w", hookDir, entry.Name(), err))
		}
	}
	return errors.Join(errs...)
}

func (a *Agent) runHook(ctx context.Context, name string, env []string) error {
	c, err := a.startProcess(&exec.Cmd{
		Path:        a.path(filepath.Join(hookDir, name)),
		Args:        []string{name},
		Dir:         "/",
		Env:         env,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}, false)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { c.kill() })()
	go a.logLines(name, c.stdout)
	go a.logLines(name, c.stderr)
	exited, err := c.wait(0)
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("it took too long: %w", ctx.Err())
	case exited.Code != 0:
		return fmt.Errorf("exit status %d", exited.Code)
	}
	return nil
}

// logLines logs what comes out of a pipe, whoever holds its other end.
func (a *Agent) logLines(name string, pipe *os.File) {
	defer pipe.Close()
	buf := make([]byte, 512)
	for {
		n, err := pipe.Read(buf)
		for line := range strings.Lines(string(buf[:n])) {
			a.Log("%s: %s", name, strings.TrimSuffix(line, "\n"))
		}
		if err != nil {
			return
		}
	}
}
