package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

const (
	// screenKept is how much of a terminal's output stands for its screen, in bytes.
	screenKept = 64 << 10
	// inputKept is how much is typed ahead of what a command reads.
	inputKept = 4 << 10
)

// terminals are those of one guest.
type terminals struct {
	mu   sync.Mutex
	all  []*terminal // the oldest first
	made int
}

func (g *Guest) terminalsOf(id coppice.VMID) *terminals {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.terminals[id] == nil {
		g.terminals[id] = &terminals{}
	}
	return g.terminals[id]
}

// Terminals implements [coppice.Session].
func (s *guestSession) Terminals(user string) coppice.GuestTerminals { return guestTerminals{s, user} }

// guestTerminals is a [coppice.GuestTerminals].
type guestTerminals struct {
	session *guestSession
	user    string
}

// Open implements [coppice.GuestTerminals].
func (g guestTerminals) Open(ctx context.Context, spec coppice.TerminalSpec) (coppice.Terminal, error) {
	if !spec.Size.Valid() || spec.ID != "" && !coppice.ValidTerminalID(spec.ID) {
		return nil, fmt.Errorf("a terminal %q of %v: %w", spec.ID, spec.Size, fs.ErrInvalid)
	}
	broken, err := g.session.connected(ctx)
	if err != nil {
		return nil, err
	}
	env := append([]string{"TERM=xterm-256color"}, spec.Env...)
	sh, err := newShell(g.session, coppice.ExecSpec{User: g.user, Dir: spec.Dir, Env: env}, coppice.Stdio{})
	if err != nil {
		return nil, err
	}
	all := g.session.terminals
	all.mu.Lock()
	defer all.mu.Unlock()
	running := 0
	var ended *terminal // of that id
	for _, t := range all.all {
		runs := t.info().Ended.IsZero()
		if runs {
			running++
		}
		switch {
		case t.id != spec.ID:
		case runs:
			return nil, fmt.Errorf("%w: %q", coppice.ErrTerminalExists, t.id)
		case !g.mayUse(t):
			return nil, fmt.Errorf("%w: %q", coppice.ErrTerminalUser, t.id)
		default:
			ended = t
		}
	}
	if running >= coppice.MaxTerminals || spec.Most > 0 && running >= spec.Most {
		return nil, fmt.Errorf("%w: %d", coppice.ErrTooMany, running)
	}
	if spec.ID == "" {
		all.made++
		spec.ID = "pty-" + strconv.Itoa(all.made)
	}
	t := newTerminal(sh, spec)
	all.remove(ended)
	all.all = append(all.all, t)
	v := t.attach(ctx, broken, spec.Size, spec.Typist)
	v.replay = 0
	go t.run(spec.Command)
	return v, nil
}

func (all *terminals) remove(t *terminal) {
	all.all = slices.DeleteFunc(all.all, func(other *terminal) bool { return other == t })
}

// find returns a terminal that the user may use.
func (g guestTerminals) find(ctx context.Context, id string) (*terminal, <-chan struct{}, error) {
	broken, err := g.session.connected(ctx)
	if err != nil {
		return nil, nil, err
	}
	if _, err := home(g.user); err != nil {
		return nil, nil, err
	}
	all := g.session.terminals
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, t := range all.all {
		switch {
		case t.id != id:
		case !g.mayUse(t):
			return nil, nil, coppice.ErrTerminalUser
		default:
			return t, broken, nil
		}
	}
	return nil, nil, fmt.Errorf("%w: %q", coppice.ErrNoTerminal, id)
}

func (g guestTerminals) mayUse(t *terminal) bool {
	return g.user == "" || g.user == "root" || g.user == t.sh.env["USER"]
}

// Attach implements [coppice.GuestTerminals].
func (g guestTerminals) Attach(ctx context.Context, id string, size coppice.TerminalSize, typist *coppice.Typist) (coppice.Terminal, error) {
	if !size.Valid() {
		return nil, fmt.Errorf("a terminal of %v: %w", size, fs.ErrInvalid)
	}
	t, broken, err := g.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return t.attach(ctx, broken, size, typist), nil
}

// List implements [coppice.GuestTerminals].
func (g guestTerminals) List(ctx context.Context) ([]coppice.TerminalInfo, error) {
	if _, err := g.session.connected(ctx); err != nil {
		return nil, err
	}
	all := g.session.terminals
	all.mu.Lock()
	defer all.mu.Unlock()
	infos := []coppice.TerminalInfo{}
	for _, t := range all.all {
		if g.mayUse(t) {
			infos = append(infos, t.info())
		}
	}
	return infos, nil
}

// Close implements [coppice.GuestTerminals].
func (g guestTerminals) Close(ctx context.Context, id string) (coppice.TerminalInfo, error) {
	t, _, err := g.find(ctx, id)
	if err != nil {
		return coppice.TerminalInfo{}, err
	}
	t.signal("SIGHUP")
	<-t.done
	all := g.session.terminals
	all.mu.Lock()
	defer all.mu.Unlock()
	all.remove(t)
	return t.info(), nil
}

// A terminal runs a shell of package mem.
type terminal struct {
	id, command string
	sh          *shell
	created     time.Time
	done        chan struct{}

	mu      sync.Mutex
	viewers []*terminalViewer
	size    coppice.TerminalSize
	written int64                   // bytes of output
	kept    []byte                  // the last of them
	input   []byte                  // typed, not read yet
	noInput error                   // why none is read any more
	taken   map[string]int64        // how much was typed, by typist
	changed chan struct{}           // closed at the next change
	cancel  context.CancelCauseFunc // of what runs
	killed  string                  // the signal that ended it all
	ended   time.Time
	exit    coppice.TerminalExit
}

func newTerminal(sh *shell, spec coppice.TerminalSpec) *terminal {
	t := &terminal{
		id: spec.ID, command: spec.Command, sh: sh, created: time.Now(), done: make(chan struct{}),
		size: spec.Size, taken: map[string]int64{}, changed: make(chan struct{}), cancel: func(error) {},
	}
	sh.stdio = coppice.Stdio{Stdin: t, Stdout: t, Stderr: t}
	return t
}

// A killed is why a command ends that got a signal.
type killed struct{ signal string }

func (k killed) Error() string { return k.signal }

// run runs the command, or what is typed line by line, and ends the terminal.
func (t *terminal) run(command string) {
	defer close(t.done)
	var exit coppice.TerminalExit
	if command != "" {
		exit, _ = t.script(command)
	} else {
		exit = t.interact()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.exit, t.ended, t.noInput = exit, time.Now(), io.EOF
	t.change()
}

// interact runs lines until one is "exit", or a signal ends it.
func (t *terminal) interact() coppice.TerminalExit {
	for {
		var line []byte
		for c := make([]byte, 1); ; {
			if _, err := t.Read(c); err != nil {
				return signalled(t.signalled(err))
			}
			if c[0] == '\r' || c[0] == '\n' {
				break
			}
			line = append(line, c[0])
		}
		if words := bytes.Fields(line); len(words) > 0 && string(words[0]) == "exit" {
			exit, _ := t.script(string(line))
			return exit
		}
		if exit, err := t.script(string(line)); err != nil && (exit.Signal == "SIGKILL" || exit.Signal == "SIGHUP") {
			return exit
		}
	}
}

// signalled is the signal that an error says.
func (t *terminal) signalled(err error) string {
	if k, ok := err.(killed); ok {
		return k.signal
	}
	return "SIGHUP"
}

func signalled(name string) coppice.TerminalExit {
	return coppice.TerminalExit{Code: 128 + int(unix.SignalNum(name)), Signal: name}
}

// script runs a script. err is set if a signal ended it.
func (t *terminal) script(script string) (coppice.TerminalExit, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	t.mu.Lock()
	t.cancel = cancel
	if t.killed != "" {
		cancel(killed{t.killed})
	}
	t.mu.Unlock()
	code, err := t.sh.run(ctx, script)
	if cause := context.Cause(ctx); cause != nil {
		return signalled(t.signalled(cause)), cause
	}
	if err != nil {
		return signalled(t.signalled(err)), err
	}
	return coppice.TerminalExit{Code: code}, nil
}

// signal ends what runs, and for some signals the terminal.
func (t *terminal) signal(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancel(killed{name})
	if t.killed == "" && (name == "SIGKILL" || name == "SIGHUP") {
		t.killed, t.noInput = name, killed{name}
		t.change()
	}
}

// Read gives a command what is typed.
func (t *terminal) Read(p []byte) (int, error) {
	for {
		t.mu.Lock()
		n, err, changed := 0, t.noInput, t.changed
		if err == nil && len(t.input) > 0 {
			n = copy(p, t.input)
			t.input = t.input[n:]
			t.change()
		}
		t.mu.Unlock()
		if n > 0 || err != nil {
			return n, err
		}
		<-changed
	}
}

// take takes of what a typist types as much as there is room for, unless it has been taken
// before. It returns how much of p has been taken by now, and what is closed when there may be more room.
func (t *terminal) take(who *coppice.Typist, p []byte) (int, <-chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.noInput != nil {
		return 0, nil, io.ErrClosedPipe
	}
	had := int(min(max(t.taken[who.ID]-who.Typed, 0), int64(len(p))))
	typed := p[had:][:min(len(p)-had, inputKept-len(t.input))]
	if len(typed) == 0 {
		return had, t.changed, nil
	}
	t.taken[who.ID] = who.Typed + int64(had+len(typed))
	for _, c := range typed {
		if c == 0x03 {
			t.cancel(killed{"SIGINT"})
			continue
		}
		t.input = append(t.input, c)
	}
	t.show(typed) // the echo
	return had + len(typed), t.changed, nil
}

// Write shows what a command writes.
func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.show(p)
	return len(p), nil
}

// show shows something, as a terminal does. The caller holds t.mu.
func (t *terminal) show(p []byte) {
	shown := bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))
	t.written += int64(len(shown))
	t.kept = append(t.kept, shown...)
	t.kept = slices.Clone(t.kept[max(0, len(t.kept)-screenKept):])
	t.change()
}

// change wakes whoever waits for something new. The caller holds t.mu.
func (t *terminal) change() {
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *terminal) info() coppice.TerminalInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	return coppice.TerminalInfo{
		ID: t.id, User: t.sh.env["USER"], Command: t.command, Size: t.size, Attached: len(t.viewers),
		Created: t.created, Ended: t.ended, Exit: t.exit,
	}
}

// fit gives the terminal the smallest size of all that are attached. The caller holds t.mu.
func (t *terminal) fit() {
	for i, v := range t.viewers {
		if i == 0 {
			t.size = v.size
		}
		t.size.Cols, t.size.Rows = min(t.size.Cols, v.size.Cols), min(t.size.Rows, v.size.Rows)
	}
}
