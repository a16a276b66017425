package sshgate

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice"
)

const (
	// statusFailed is the exit status of what could not be run, as of ssh itself.
	statusFailed = 255
	// maxEnv is how many bytes of environment a client may set.
	maxEnv = 256 << 10
	// loginShell is what runs where no command is given.
	loginShell = `exec "$SHELL" -l`
)

// A session is a channel that something runs in.
type session struct {
	*conn
	channel ssh.Channel
	ctx     context.Context // ends with the channel
	env     []string
	envSize int
	window  *window     // the client's terminal, if it has one
	agent   bool        // the client's agent is to be reached from the guest
	signals chan string // like "SIGTERM", for what runs
	started bool
	run     func() // what was started, until it runs
}

// session serves a channel of kind "session".
func (c *conn) session(ch ssh.NewChannel) {
	channel, requests, err := ch.Accept()
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancelCause(c.ctx)
	s := &session{conn: c, channel: channel, ctx: ctx, signals: make(chan string, 8)}
	for r := range requests {
		ok := s.request(r)
		if r.WantReply {
			r.Reply(ok, nil)
		}
		if s.run == nil {
			continue
		}
		if !s.begin(s.run) { // after the reply, which may not come when all is over
			channel.Close()
		}
		s.run = nil
	}
	cancel(io.EOF) // the client has closed the channel
}

// request does what the client wants of a session.
func (s *session) request(r *ssh.Request) bool {
	switch r.Type {
	case "env":
		var v struct{ Name, Value string }
		if ssh.Unmarshal(r.Payload, &v) != nil || s.started {
			return false
		}
		return s.setenv(v.Name, v.Value)
	case "auth-agent-req@openssh.com":
		if s.started { // and reads it
			return false
		}
		s.agent = true
		return true
	case "pty-req":
		return s.openWindow(r.Payload)
	case "window-change":
		return s.changeWindow(r.Payload)
	case "signal":
		var v struct{ Name string }
		if ssh.Unmarshal(r.Payload, &v) != nil {
			return false
		}
		select {
		case s.signals <- "SIG" + v.Name:
		default: // nobody takes them
		}
		return true
	case "shell":
		return s.start(func() (coppice.ExecStatus, error) { return s.command("") })
	case "exec":
		var v struct{ Command string }
		if ssh.Unmarshal(r.Payload, &v) != nil {
			return false
		}
		return s.start(func() (coppice.ExecStatus, error) { return s.command(v.Command) })
	case "subsystem":
		var v struct{ Name string }
		if ssh.Unmarshal(r.Payload, &v) != nil || v.Name != "sftp" {
			return false
		}
		return s.start(func() (coppice.ExecStatus, error) { return s.exec(coppice.ExecSpec{SFTP: true}, false) })
	}
	return false
}

// setenv sets a variable for what is going to run.
func (s *session) setenv(name, value string) bool {
	s.envSize += len(name) + len(value)
	if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") || s.envSize > maxEnv {
		return false
	}
	s.env = append(s.env, name+"="+value)
	return true
}

// start has the session do what it is for. There is one thing that it can be.
func (s *session) start(do func() (coppice.ExecStatus, error)) bool {
	if s.started {
		return false
	}
	s.started = true
	s.run = func() {
		defer s.channel.Close()
		status, err := do()
		if err != nil {
			if !deserted(s.ctx) {
				fmt.Fprintf(s.channel.Stderr(), "coppice: %s\n", s.explain(err))
			}
			status = coppice.ExecStatus{Code: statusFailed}
		}
		s.tellExit(status)
	}
	return true
}

// tellExit tells the client how what ran has ended.
func (s *session) tellExit(status coppice.ExecStatus) {
	name, signalled := strings.CutPrefix(status.Signal, "SIG")
	if !signalled {
		s.channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status.Code)}))
		return
	}
	s.channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
		Name       string
		CoreDumped bool
		Message    string
		Language   string
	}{Name: name}))
}

// deserted reports whether a context ended because nobody is there any more.
func deserted(ctx context.Context) bool {
	switch context.Cause(ctx) {
	case io.EOF, net.ErrClosed, errSilent:
		return true
	}
	return false
}

// command runs a command, or a shell, where the client wants it.
func (s *session) command(command string) (coppice.ExecStatus, error) {
	switch {
	case s.window != nil:
		return s.runShell(command)
	case command == "":
		return s.exec(coppice.ExecSpec{Command: loginShell}, false)
	}
	return s.exec(coppice.ExecSpec{Command: command}, true)
}

// exec runs a command with the channel for its standard streams. One that is
// work keeps the VM in use while it runs.
func (s *session) exec(spec coppice.ExecSpec, work bool) (status coppice.ExecStatus, err error) {
	err = s.enter(s.ctx, nil, func(ctx context.Context, in *inside) error {
		spec.User, spec.Env = s.name.user, s.env
		if s.agent {
			stop, err := s.forwardAgent(ctx, in, &spec.Env)
			if err != nil {
				return err
			}
			defer stop()
		}
		if !work {
			in.release()
		}
		status, err = in.Exec(ctx, spec, coppice.Stdio{
			Stdin:  touchingReader{s.channel, in.touch},
			Stdout: touchingWriter{s.channel, in.touch},
			Stderr: touchingWriter{s.channel.Stderr(), in.touch},

			Signals: s.signals,
		})
		return err
	})
	return status, err
}

// A touchingReader and a touchingWriter tell of bytes that pass.
type (
	touchingReader struct {
		io.Reader
		touch func()
	}
	touchingWriter struct {
		io.Writer
		touch func()
	}
)

func (r touchingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.touch()
	}
	return n, err
}

func (w touchingWriter) Write(p []byte) (int, error) {
	w.touch()
	return w.Writer.Write(p)
}
