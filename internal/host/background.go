package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// background starts a program in a session of its own, its output appended to
// the file log, and returns when it has said "READY=1" ([Notify]). It calls
// status with each "STATUS=" it says before. If the program ends first, the
// error has the last of what it printed; if ctx does, the program is ended.
func background(ctx context.Context, log string, args []string, status func(string)) error {
	if err := rotate(log); err != nil {
		return err
	}
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	start, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}

	socket := "@coppice-" + rand.Text() // no file: nothing to clean up
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()

	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()

	ready := make(chan error, 1)
	go func() { ready <- awaitReady(conn, status) }()
	select {
	case err := <-ready:
		return err
	case <-ended:
		return fmt.Errorf("it ended: %v\n%s", cmd.ProcessState, tail(log, start))
	case <-ctx.Done():
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		return fmt.Errorf("it did not get ready: %w\n%s", ctx.Err(), tail(log, start))
	}
}

// awaitReady reads what a program says with [Notify] until it says that it is ready.
func awaitReady(conn net.Conn, status func(string)) error {
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(buf[:n])) {
			line = strings.TrimSuffix(line, "\n")
			if line == "READY=1" {
				return nil
			}
			if s, ok := strings.CutPrefix(line, "STATUS="); ok {
				status(s)
			}
		}
	}
}

// rotate moves a log that has grown large aside, replacing the one moved before.
func rotate(log string) error {
	const large = 16 << 20
	info, err := os.Stat(log)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() < large {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Rename(log, log+".1")
}

// tail returns the last lines of what was written to a log from offset start on.
func tail(log string, start int64) string {
	const lines = 10
	b, err := os.ReadFile(log)
	if err != nil || int64(len(b)) < start {
		return ""
	}
	all := bytes.Split(bytes.TrimSpace(b[start:]), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
