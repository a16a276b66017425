package host

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// background starts a program in a session of its own, its output appended to
// the file log, and returns when it has said "READY=1" ([Notify]). It calls
// status with each "STATUS=" it says before. If ctx ends first, the program is ended.
func background(ctx context.Context, log string, args []string, status func(string)) error {
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
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
		return fmt.Errorf("it ended: %v", cmd.ProcessState)
	case <-ctx.Done():
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		return fmt.Errorf("it did not get ready: %w", ctx.Err())
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
