package sshgate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/moving"
)

const (
	// nameVariable is the variable by which a client asks for a terminal that
	// stays, and for the same one when it comes again.
	nameVariable = "COPPICE_TERMINAL"
	// hangUpTime is what a terminal has to end that goes with its connection.
	hangUpTime = 10 * time.Second
	// maxBreaks is how often in a row a terminal that shows nothing is attached to anew.
	maxBreaks = 5
)

// A window is the terminal that a client has.
type window struct {
	term string
	size coppice.TerminalSize
	// changes has the latest size that nobody has heard of.
	changes chan coppice.TerminalSize
}

// openWindow takes note of a client's terminal.
func (s *session) openWindow(payload []byte) bool {
	var v struct {
		Term          string
		Cols, Rows    uint32
		Width, Height uint32
		Modes         string
	}
	if ssh.Unmarshal(payload, &v) != nil || s.started || s.window != nil || strings.Contains(v.Term, "\x00") {
		return false
	}
	s.window = &window{term: v.Term, size: size(v.Cols, v.Rows), changes: make(chan coppice.TerminalSize, 1)}
	return true
}

// changeWindow takes note that the terminal has another size.
func (s *session) changeWindow(payload []byte) bool {
	var v struct{ Cols, Rows, Width, Height uint32 }
	if ssh.Unmarshal(payload, &v) != nil || s.window == nil {
		return false
	}
	select {
	case <-s.window.changes:
	default:
	}
	s.window.changes <- size(v.Cols, v.Rows) // nobody else puts one in
	return true
}

// size is the nearest that a terminal may have. Programs that do not know say 0.
func size(cols, rows uint32) coppice.TerminalSize {
	fit := func(n, usual uint32) int {
		if n == 0 {
			n = usual
		}
		return int(min(n, coppice.MaxTerminalSide))
	}
	return coppice.TerminalSize{Cols: fit(cols, 80), Rows: fit(rows, 24)}
}

// A shell is a program in a terminal of the guest, for a client that has one.
// The VM may go to sleep under it: the client finds it again by typing.
type shell struct {
	*session
	command string
	name    string // of a terminal that is to stay; empty for one that goes with the connection
	id      string // of the terminal, once there is one
	typed   chan []byte
	typist  *coppice.Typist
	pending []byte // typed, not passed on yet
	breaks  int    // since something moved last
	asked   moving.Question
}

// runShell runs a program in a terminal; none is the user's shell.
func (s *session) runShell(command string) (coppice.ExecStatus, error) {
	sh := &shell{session: s, command: command, typed: make(chan []byte), typist: coppice.NewTypist()}
	sh.takeName()
	go sh.listen()
	for {
		exit, err := sh.attach()
		switch {
		case err == nil:
			return coppice.ExecStatus{Code: exit.Code, Signal: exit.Signal}, nil
		case sh.id == "" || !errors.Is(err, coppice.ErrGuestGone) || s.ctx.Err() != nil,
			len(sh.pending) > 0 && sh.breaks >= maxBreaks:
			return coppice.ExecStatus{}, err
		}
		if err := sh.rest(); err != nil {
			return coppice.ExecStatus{}, err
		}
	}
}

// takeName finds the name of the terminal among the variables, where it does not stay.
func (sh *shell) takeName() {
	for i, v := range sh.env {
		if name, ok := strings.CutPrefix(v, nameVariable+"="); ok {
			sh.name = name
			sh.env = append(sh.env[:i:i], sh.env[i+1:]...)
			return
		}
	}
}

// listen passes on what is typed, until there is no more.
func (sh *shell) listen() {
	for {
		buf := make([]byte, 4096)
		n, err := sh.channel.Read(buf)
		if n > 0 {
			select {
			case sh.typed <- buf[:n]:
			case <-sh.ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// rest waits while there is nothing to attach to, until something is typed. What
// was typed just before counts, too: the guest has fallen asleep over it.
func (sh *shell) rest() error {
	id, err := sh.resolve(sh.ctx)
	if err != nil {
		return err
	}
	vm, err := sh.VMs.VM(sh.ctx, sh.who.Account, id)
	if err != nil {
		return err
	}
	asleep := vm.State == coppice.Suspended || vm.Verb == coppice.Suspend
	waits := len(sh.pending) > 0 || asleep && sh.asked.Take()
	if sh.breaks++; waits || !asleep && sh.breaks < maxBreaks {
		return nil
	}
	select {
	case sh.pending = <-sh.typed:
		return nil
	case <-sh.ctx.Done():
		return context.Cause(sh.ctx)
	}
}

// attach attaches to the terminal, which it opens if it is not there yet, until
// the program has ended.
func (sh *shell) attach() (exit coppice.TerminalExit, err error) {
	waking := func() { fmt.Fprintf(sh.channel.Stderr(), "coppice: waking %s ...\r\n", sh.login.name.vm) }
	err = sh.enter(sh.ctx, waking, func(ctx context.Context, in *inside) error {
		if sh.agent && sh.id == "" {
			stop, err := sh.forwardAgent(ctx, in, &sh.env)
			if err != nil {
				return err
			}
			defer stop()
		}
		terminals := in.Terminals(sh.login.name.user)
		t, err := sh.open(ctx, terminals)
		if err != nil {
			return err
		}
		defer t.Close()
		in.release()
		sh.id = t.Info().ID
		err = sh.converse(ctx, in, t)
		exit = t.Exit()
		if err != nil && sh.name == "" && ctx.Err() != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hangUpTime)
			defer cancel()
			terminals.Close(ctx, sh.id) // fails only where the terminal is gone
		}
		return err
	})
	return exit, err
}

// open returns the terminal, in the size of the window.
func (sh *shell) open(ctx context.Context, terminals coppice.GuestTerminals) (coppice.Terminal, error) {
	select {
	case sh.window.size = <-sh.window.changes:
	default:
	}
	if sh.id != "" {
		return terminals.Attach(ctx, sh.id, sh.window.size, sh.typist)
	}
	spec := coppice.TerminalSpec{ID: sh.name, Command: sh.command, Env: sh.env, Size: sh.window.size, Typist: sh.typist}
	if sh.window.term != "" {
		spec.Env = append([]string{"TERM=" + sh.window.term}, spec.Env...)
	}
	t, err := terminals.Open(ctx, spec)
	if errors.Is(err, coppice.ErrTerminalExists) {
		t, err = terminals.Attach(ctx, sh.name, sh.window.size, sh.typist)
	}
	return t, err
}

// converse passes on what is typed and what is shown, until the program has
// ended, the connection to the guest breaks, or ctx ends.
func (sh *shell) converse(ctx context.Context, in *inside, t coppice.Terminal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { t.Close() })() // which ends what waits for it
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	others.Go(func() { sh.typeInto(ctx, t, in.touch) })
	others.Go(func() { sh.follow(ctx, t) })
	buf := make([]byte, 32<<10)
	for {
		n, err := t.Read(buf)
		if n > 0 {
			sh.breaks = 0
			sh.asked.Answered()
			in.touch()
			if _, err := sh.channel.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// typeInto passes on what is typed.
func (sh *shell) typeInto(ctx context.Context, t coppice.Terminal, touch func()) {
	for {
		if len(sh.pending) == 0 {
			select {
			case sh.pending = <-sh.typed:
			case <-ctx.Done():
				return
			}
		}
		touch()
		sh.asked.Ask()
		n, err := t.Write(sh.pending)
		sh.pending = sh.pending[n:]
		if errors.Is(err, io.ErrClosedPipe) {
			sh.pending = nil // nobody is there to read it
		}
		if err != nil {
			return
		}
	}
}

// follow passes on the size of the window, and signals.
func (sh *shell) follow(ctx context.Context, t coppice.Terminal) {
	for {
		var err error
		select {
		case sh.window.size = <-sh.window.changes:
			err = t.Resize(ctx, sh.window.size)
		case name := <-sh.signals:
			err = t.Signal(ctx, name)
		case <-ctx.Done():
			return
		}
		if err != nil && ctx.Err() == nil {
			sh.Log.Debug("ssh: a terminal was not told", "vm", sh.login.name.vm, "error", err)
		}
	}
}
