package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/client"
)

const (
	// prefixKey, Ctrl-], is what keys for coppice itself begin with.
	prefixKey = 0x1D
	// reattachPatience is how long a shell is attached to again whose
	// connection broke, as when the daemon is restarted.
	reattachPatience = 30 * time.Second
	// plainScreen gives a screen back as it was, whatever a program has made of it.
	plainScreen = "\x1b[!p\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?25h\x1b[0m\r\n"
)

// errDetached is why a shell is left whose user wants to.
var errDetached = errors.New("detached")

func (m *Main) shellCommand() *cobra.Command {
	var spec client.NewTerminal
	cmd := &cobra.Command{
		Use:   "shell [flags] VM [COMMAND [ARG...]]",
		Short: "Open a terminal in a VM, with a shell that lives on when you leave",
		Long: `Open a terminal in a VM, with a shell that lives on when you leave.

Ctrl-] d leaves it running; Ctrl-] twice types Ctrl-]. With --session the terminal
has a name: if there is one of that name it is attached to, and shows its screen.
A terminal lives through the loss of connections, restarts of the daemon and
suspends, and a fork has it too. While a VM is suspended the terminal waits; what
is typed wakes it.

The exit status is the shell's, 0 after Ctrl-] d, and 125 if there was no
terminal or it was lost.`,
		Example: `  coppice shell hello
  coppice shell hello --session work -u deploy
  coppice shell hello top`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: m.completeVM,
		RunE: m.then(func(ctx context.Context, args []string) error {
			if len(args) > 1 {
				spec.Command = script(args[1:])
			}
			code, err := m.shell(ctx, args[0], spec)
			switch {
			case errors.Is(err, context.Canceled):
				return statusInterrupted
			case err != nil:
				m.report(err)
				return statusFailed
			case code != 0:
				return exitStatus(code)
			}
			return nil
		}),
	}
	cmd.Flags().SetInterspersed(true)
	cmd.Flags().StringVarP(&spec.User, "user", "u", "", "user to be, by name or number (default root)")
	cmd.Flags().StringVar(&spec.ID, "session", "", "name of the terminal, to open it or to attach to it")
	return cmd
}

// shell runs a terminal on this one and returns its program's status.
func (m *Main) shell(ctx context.Context, ref string, spec client.NewTerminal) (int, error) {
	c, err := m.client()
	if err != nil {
		return 0, err
	}
	vm, err := find(ctx, c, ref)
	if err != nil {
		return 0, err
	}
	window, _ := m.Stdin.(*os.File)
	if window != nil && !term.IsTerminal(int(window.Fd())) {
		window = nil
	}
	spec.Size, spec.Term = windowSize(window), m.Getenv("TERM")
	terminal, err := c.OpenTerminal(ctx, vm, spec)
	if coppice.CodeOf(err) == coppice.CodeSessionExists {
		terminal, err = c.AttachTerminal(ctx, vm, spec.ID, spec.User, spec.Size)
	}
	if err != nil {
		return 0, err
	}
	if window != nil {
		before, err := term.MakeRaw(int(window.Fd()))
		if err != nil {
			terminal.Close()
			return 0, err
		}
		defer term.Restore(int(window.Fd()), before)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &shell{client: c, vm: vm, user: spec.User, id: terminal.ID(), window: window}
	s.terminal.Store(terminal)
	go s.followWindow(ctx)
	go func() { cancel(s.send(m.Stdin)) }()
	code, err := s.show(ctx, m.Stdout)
	if errors.Is(err, errDetached) {
		fmt.Fprintf(m.Stdout, "%s[%s goes on: coppice shell %s --session %s]\r\n", plainScreen, s.id, ref, s.id)
		return 0, nil
	}
	return code, err
}

// A shell is a terminal of a VM on one of this machine.
type shell struct {
	client       *client.Client
	vm, user, id string
	window       *os.File // nil if there is none
	terminal     atomic.Pointer[client.Terminal]
}

// show shows the terminal until its program ends, attaching again if need be.
func (s *shell) show(ctx context.Context, out io.Writer) (int, error) {
	for {
		terminal := s.terminal.Load()
		stop := context.AfterFunc(ctx, func() { terminal.Close() })
		_, err := io.Copy(out, terminal)
		stop()
		terminal.Close()
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case err == nil:
			return terminal.ExitCode(), nil
		case coppice.CodeOf(err) != coppice.CodeUnavailable:
			return 0, err
		}
		if err := s.reattach(ctx, err); err != nil {
			return 0, err
		}
	}
}

// reattach attaches again after the connection broke, because of lost.
func (s *shell) reattach(ctx context.Context, lost error) error {
	for until := time.Now().Add(reattachPatience); ; {
		terminal, err := s.client.AttachTerminal(ctx, s.vm, s.id, s.user, windowSize(s.window))
		refused, ok := errors.AsType[*coppice.Error](err)
		switch {
		case err == nil:
			s.terminal.Store(terminal)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case ok && refused.Code != coppice.CodeUnavailable: // a connection that breaks again refuses nothing
			return err
		}
		if time.Now().After(until) {
			return lost
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// send types what comes in. It returns [errDetached] when the keys for that are
// pressed; the end of what is no terminal is typed as a terminal's Ctrl-D.
func (s *shell) send(in io.Reader) error {
	var keys detachKeys
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		typed, detach := keys.filter(buf[:n])
		if err == io.EOF {
			typed = append(typed, 0x04)
		}
		if len(typed) > 0 {
			s.terminal.Load().Write(typed) // a connection that broke is made anew by show
		}
		switch {
		case detach:
			return errDetached
		case err == io.EOF:
			select {} // the program may take its time with what it has
		case err != nil:
			return err
		}
	}
}

// detachKeys finds Ctrl-] d in what is typed.
type detachKeys struct{ prefix bool }

// filter returns what of p is for the program, and whether the user leaves.
func (k *detachKeys) filter(p []byte) (typed []byte, detach bool) {
	for _, b := range p {
		switch {
		case k.prefix && (b == 'd' || b == 'D'):
			return typed, true
		case k.prefix && b == prefixKey:
			typed, k.prefix = append(typed, b), false
		case k.prefix:
			typed, k.prefix = append(typed, prefixKey, b), false
		case b == prefixKey:
			k.prefix = true
		default:
			typed = append(typed, b)
		}
	}
	return typed, false
}

// followWindow says when the window has another size.
func (s *shell) followWindow(ctx context.Context) {
	if s.window == nil {
		return
	}
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	defer signal.Stop(changes)
	for {
		select {
		case <-changes:
			s.terminal.Load().Resize(windowSize(s.window))
		case <-ctx.Done():
			return
		}
	}
}

// windowSize is the size of a window, or the usual one if there is none.
func windowSize(window *os.File) coppice.TerminalSize {
	size := coppice.TerminalSize{Cols: 80, Rows: 24}
	if window != nil {
		if cols, rows, err := term.GetSize(int(window.Fd())); err == nil && min(cols, rows) > 0 {
			size.Cols, size.Rows = min(cols, coppice.MaxTerminalSide), min(rows, coppice.MaxTerminalSide)
		}
	}
	return size
}
