package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

// terminalDeadline is how long an exam waits for what a terminal must do at once.
const terminalDeadline = 30 * time.Second

var terminalTests = map[string]func(*testing.T, *exam){
	"a terminal runs a command":               testTerminalCommand,
	"a terminal runs a shell":                 testTerminalShell,
	"a terminal is shared":                    testTerminalShared,
	"a terminal lives on":                     testTerminalLivesOn,
	"a terminal has the smallest size":        testTerminalSize,
	"a terminal gets signals":                 testTerminalSignals,
	"a terminal is closed":                    testTerminalClose,
	"a terminal has an owner":                 testTerminalUsers,
	"terminals have names":                    testTerminalNames,
	"terminals are so many":                   testTerminalCap,
	"who does not read a terminal is skipped": testTerminalSlowReader,
	"a terminal's context ends it":            testTerminalContext,
	"what is typed is typed once":             testTerminalTypist,
}

var usualSize = coppice.TerminalSize{Cols: 80, Rows: 24}

// A viewer is a terminal that is read all the time.
type viewer struct {
	coppice.Terminal
	t      *testing.T
	output chan []byte
	seen   bytes.Buffer
	err    error // of the last read, when output is closed
}

// watchTerminal reads a terminal until it ends or is closed.
func watchTerminal(t *testing.T, terminal coppice.Terminal, err error) *viewer {
	t.Helper()
	must(t, err)
	v := &viewer{Terminal: terminal, t: t, output: make(chan []byte, 10000)}
	t.Cleanup(func() { v.Close() })
	go func() {
		defer close(v.output)
		for buf := make([]byte, 4096); v.err == nil; {
			var n int
			n, v.err = terminal.Read(buf)
			v.output <- bytes.Clone(buf[:n])
		}
	}()
	return v
}

// until waits for something to be shown.
func (v *viewer) until(text string) {
	v.t.Helper()
	timeout := time.After(terminalDeadline)
	for !strings.Contains(v.seen.String(), text) {
		select {
		case out, ok := <-v.output:
			if v.seen.Write(out); !ok {
				v.t.Fatalf("the terminal ended with %v before it showed %q: %q", v.err, text, v.seen.String())
			}
		case <-timeout:
			v.t.Fatalf("the terminal does not show %q: %q", text, v.seen.String())
		}
	}
}

// end waits for the end and returns why.
func (v *viewer) end() error {
	v.t.Helper()
	timeout := time.After(terminalDeadline)
	for {
		select {
		case out, ok := <-v.output:
			if v.seen.Write(out); !ok {
				return v.err
			}
		case <-timeout:
			v.t.Fatalf("the terminal does not end: %q", v.seen.String())
		}
	}
}

// exits waits for the program's end, and checks it.
func (v *viewer) exits(want coppice.TerminalExit) {
	v.t.Helper()
	if err := v.end(); err != io.EOF {
		v.t.Errorf("the terminal ended with %v, want EOF", err)
	} else if got := v.Exit(); got != want {
		v.t.Errorf("the program ended with %+v, want %+v", got, want)
	}
}

func (v *viewer) types(text string) {
	v.t.Helper()
	_, err := v.Write([]byte(text))
	must(v.t, err)
}

// open opens a terminal of root's.
func (e *exam) open(t *testing.T, spec coppice.TerminalSpec) *viewer {
	t.Helper()
	if spec.Size == (coppice.TerminalSize{}) {
		spec.Size = usualSize
	}
	terminal, err := e.Terminals("").Open(t.Context(), spec)
	return watchTerminal(t, terminal, err)
}

// attach attaches to a terminal.
func (e *exam) attach(t *testing.T, id string, size coppice.TerminalSize) *viewer {
	t.Helper()
	terminal, err := e.Terminals("").Attach(t.Context(), id, size, nil)
	return watchTerminal(t, terminal, err)
}

// info returns what is listed of a terminal.
func (e *exam) info(t *testing.T, id string) (coppice.TerminalInfo, bool) {
	t.Helper()
	all, err := e.Terminals("").List(t.Context())
	must(t, err)
	for _, info := range all {
		if info.ID == id {
			return info, true
		}
	}
	return coppice.TerminalInfo{}, false
}

func testTerminalCommand(t *testing.T, e *exam) {
	before := time.Now().Add(-time.Minute)
	v := e.open(t, coppice.TerminalSpec{Command: "echo $GREETING $TERM; exit 7", Env: []string{"GREETING=hello", "TERM=vt220"}})
	v.exits(coppice.TerminalExit{Code: 7})
	if got := v.seen.String(); !strings.Contains(got, "hello vt220\r\n") {
		t.Errorf("the command showed %q", got)
	}
	if v.Replay() != 0 {
		t.Errorf("a new terminal replays %d bytes", v.Replay())
	}
	info, ok := e.info(t, v.Info().ID)
	if !ok || info.Ended.Before(info.Created) || info.Created.Before(before) || info.Exit.Code != 7 || info.Command == "" || info.User != "root" {
		t.Errorf("a terminal that ended is listed (%v) as %+v", ok, info)
	}
	again := e.attach(t, v.Info().ID, usualSize)
	again.exits(coppice.TerminalExit{Code: 7})
	if got := again.seen.String(); !strings.Contains(got, "hello vt220") {
		t.Errorf("its screen is %q", got)
	}
	_, err := v.Write([]byte("x"))
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("typing after the end: %v, want ErrClosedPipe", err)
	}
	v = e.open(t, coppice.TerminalSpec{Command: "kill -9 $$"})
	if v.end(); v.Exit().Code != 137 {
		t.Errorf("a command that kills itself ended with %+v", v.Exit())
	}
}

func testTerminalShell(t *testing.T, e *exam) {
	v := e.open(t, coppice.TerminalSpec{})
	v.types("echo $HOME-$USER\r")
	v.until(e.RootHome + "-root\r\n")
	v.types("echo $TERM-\r")
	v.until("xterm-256color-\r\n")
	v.types("exit 5\r")
	v.exits(coppice.TerminalExit{Code: 5})
}

func testTerminalShared(t *testing.T, e *exam) {
	first := e.open(t, coppice.TerminalSpec{ID: "shared"})
	first.types("echo a$HOME\r")
	first.until("a" + e.RootHome + "\r\n")
	second := e.attach(t, "shared", usualSize)
	second.until("a" + e.RootHome)
	if second.Replay() == 0 || second.seen.Len() < second.Replay() {
		t.Errorf("%d bytes are said to be the screen, of the %d that came", second.Replay(), second.seen.Len())
	}
	if info := second.Info(); info.ID != "shared" || info.Attached != 2 || info.Size != usualSize {
		t.Errorf("the second is attached to %+v", info)
	}
	second.types("echo b$HOME\r")
	first.until("b" + e.RootHome + "\r\n")
	second.until("b" + e.RootHome + "\r\n")
	must(t, second.Close())
	must(t, second.Close())
	if info, _ := e.info(t, "shared"); info.Attached != 1 {
		t.Errorf("after one has detached the terminal is %+v", info)
	}
	first.types("exit\r")
	first.exits(coppice.TerminalExit{})
}

func testTerminalLivesOn(t *testing.T, e *exam) {
	v := e.open(t, coppice.TerminalSpec{ID: "lives"})
	v.types("echo a$HOME\r")
	v.until("a" + e.RootHome + "\r\n")
	e.hangUp()
	if err := v.end(); !errors.Is(err, coppice.ErrGuestGone) {
		t.Errorf("a terminal whose connection broke: %v, want ErrGuestGone", err)
	}
	if _, err := v.Write([]byte("x")); err == nil {
		t.Error("typing on a broken connection is no error")
	}
	v = e.attach(t, "lives", usualSize)
	v.until("a" + e.RootHome)
	v.types("echo b$HOME\r")
	v.until("b" + e.RootHome + "\r\n")
	v.types("exit\r")
	v.exits(coppice.TerminalExit{})
}

func testTerminalSize(t *testing.T, e *exam) {
	wide, tall := coppice.TerminalSize{Cols: 120, Rows: 20}, coppice.TerminalSize{Cols: 70, Rows: 50}
	sized := func(want coppice.TerminalSize) {
		t.Helper()
		if info, _ := e.info(t, "sized"); info.Size != want {
			t.Errorf("the terminal is %+v, want %+v", info.Size, want)
		}
	}
	first := e.open(t, coppice.TerminalSpec{ID: "sized", Size: wide})
	sized(wide)
	second := e.attach(t, "sized", tall)
	sized(coppice.TerminalSize{Cols: 70, Rows: 20})
	must(t, second.Resize(t.Context(), usualSize))
	sized(coppice.TerminalSize{Cols: 80, Rows: 20})
	must(t, first.Close())
	sized(usualSize)
	must(t, second.Close())
	sized(usualSize)
	for _, size := range []coppice.TerminalSize{{}, {Cols: 80}, {Cols: -1, Rows: 24}, {Cols: 80, Rows: coppice.MaxTerminalSide + 1}} {
		if _, err := e.Terminals("").Attach(t.Context(), "sized", size, nil); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("attach a window of %+v: %v, want ErrInvalid", size, err)
		}
	}
	third := e.attach(t, "sized", usualSize)
	if err := third.Resize(t.Context(), coppice.TerminalSize{}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("resize to nothing: %v, want ErrInvalid", err)
	}
}

func testTerminalSignals(t *testing.T, e *exam) {
	v := e.open(t, coppice.TerminalSpec{Command: "echo started; sleep 3600"})
	v.until("started")
	if err := v.Signal(t.Context(), "SIGNAL"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a signal that there is not: %v, want ErrInvalid", err)
	}
	must(t, v.Signal(t.Context(), "SIGTERM"))
	v.exits(coppice.TerminalExit{Code: 143, Signal: "SIGTERM"})
	must(t, v.Signal(t.Context(), "SIGTERM"))

	v = e.open(t, coppice.TerminalSpec{Command: "echo started; sleep 3600"})
	v.until("started")
	v.types("\x03")
	v.exits(coppice.TerminalExit{Code: 130, Signal: "SIGINT"})

	v = e.open(t, coppice.TerminalSpec{})
	v.types("echo a$HOME; sleep 3600\r")
	v.until("a" + e.RootHome + "\r\n")
	must(t, v.Signal(t.Context(), "SIGKILL"))
	v.exits(coppice.TerminalExit{Code: 137, Signal: "SIGKILL"})
}

func testTerminalClose(t *testing.T, e *exam) {
	v := e.open(t, coppice.TerminalSpec{ID: "closed"})
	v.types("echo a$HOME; sleep 3600\r")
	v.until("a" + e.RootHome + "\r\n")
	info, err := e.Terminals("").Close(t.Context(), "closed")
	must(t, err)
	if info.ID != "closed" || info.Ended.IsZero() || info.Exit.Signal != "SIGHUP" {
		t.Errorf("a terminal that was closed is %+v", info)
	}
	v.exits(coppice.TerminalExit{Code: 129, Signal: "SIGHUP"})
	if _, ok := e.info(t, "closed"); ok {
		t.Error("a terminal that was closed is listed")
	}
	if _, err := e.Terminals("").Close(t.Context(), "closed"); !errors.Is(err, coppice.ErrNoTerminal) {
		t.Errorf("close it again: %v, want ErrNoTerminal", err)
	}
	v = e.open(t, coppice.TerminalSpec{ID: "closed", Command: "exit 3"})
	v.exits(coppice.TerminalExit{Code: 3})
	if info, err := e.Terminals("").Close(t.Context(), "closed"); err != nil || info.Exit.Code != 3 {
		t.Errorf("close one that has ended: %+v, %v", info, err)
	}
}

func testTerminalUsers(t *testing.T, e *exam) {
	root := e.open(t, coppice.TerminalSpec{ID: "roots"})
	mine, err := e.Terminals(e.User).Open(t.Context(), coppice.TerminalSpec{ID: "mine", Size: usualSize})
	v := watchTerminal(t, mine, err)
	v.types("echo $HOME-$USER\r")
	v.until(e.Home + "-" + e.User + "\r\n")
	for what, err := range map[string]error{
		"attach to": func() error { _, err := e.Terminals(e.User).Attach(t.Context(), "roots", usualSize, nil); return err }(),
		"close":     func() error { _, err := e.Terminals(e.User).Close(t.Context(), "roots"); return err }(),
	} {
		if !errors.Is(err, coppice.ErrTerminalUser) {
			t.Errorf("%s another user's terminal: %v, want ErrTerminalUser", what, err)
		}
	}
	if all, err := e.Terminals(e.User).List(t.Context()); err != nil || len(all) != 1 || all[0].ID != "mine" || all[0].User != e.User {
		t.Errorf("the user's terminals are %+v, %v", all, err)
	}
	if all, err := e.Terminals("").List(t.Context()); err != nil || len(all) != 2 || all[0].ID != "roots" {
		t.Errorf("root's terminals are %+v, %v", all, err)
	}
	other := e.attach(t, "mine", usualSize)
	other.types("exit\r")
	v.exits(coppice.TerminalExit{})
	root.types("exit\r")
	root.exits(coppice.TerminalExit{})
	if _, err := e.Terminals(e.User).Open(t.Context(), coppice.TerminalSpec{ID: "roots", Size: usualSize}); !errors.Is(err, coppice.ErrTerminalUser) {
		t.Errorf("open a terminal in place of another user's that has ended: %v, want ErrTerminalUser", err)
	}
	if _, err := e.Terminals("nobody-there").Open(t.Context(), coppice.TerminalSpec{Size: usualSize}); !errors.Is(err, coppice.ErrNoUser) {
		t.Errorf("open a terminal of nobody: %v, want ErrNoUser", err)
	}
}

func testTerminalNames(t *testing.T, e *exam) {
	first := e.open(t, coppice.TerminalSpec{Command: "sleep 3600"})
	second := e.open(t, coppice.TerminalSpec{Command: "sleep 3600"})
	if a, b := first.Info().ID, second.Info().ID; a != "pty-1" || b != "pty-2" {
		t.Errorf("terminals without a name are called %q and %q", a, b)
	}
	_, err := e.Terminals("").Open(t.Context(), coppice.TerminalSpec{ID: "pty-2", Size: usualSize})
	if !errors.Is(err, coppice.ErrTerminalExists) {
		t.Errorf("open one that there is: %v, want ErrTerminalExists", err)
	}
	for _, id := range []string{"a b", "a/b", "ä", strings.Repeat("x", 65)} {
		if _, err := e.Terminals("").Open(t.Context(), coppice.TerminalSpec{ID: id, Size: usualSize}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("open a terminal %q: %v, want ErrInvalid", id, err)
		}
	}
	_, err = e.Terminals("").Attach(t.Context(), "nothing", usualSize, nil)
	if !errors.Is(err, coppice.ErrNoTerminal) {
		t.Errorf("attach to one that there is not: %v, want ErrNoTerminal", err)
	}
	if _, err := e.Terminals("").Open(t.Context(), coppice.TerminalSpec{Dir: "/not/there", Size: usualSize}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open one where there is no directory: %v, want ErrNotExist", err)
	}
	for _, v := range []*viewer{first, second} {
		must(t, v.Signal(t.Context(), "SIGKILL"))
		v.exits(coppice.TerminalExit{Code: 137, Signal: "SIGKILL"})
	}
}

func testTerminalCap(t *testing.T, e *exam) {
	one := coppice.TerminalSpec{Command: "sleep 3600", Size: usualSize, Most: 1}
	only := e.open(t, one)
	if _, err := e.Terminals("").Open(t.Context(), one); !errors.Is(err, coppice.ErrTooMany) {
		t.Errorf("a second one where there may be one: %v, want ErrTooMany", err)
	}
	must(t, only.Signal(t.Context(), "SIGKILL"))
	only.exits(coppice.TerminalExit{Code: 137, Signal: "SIGKILL"})
	for i := range 1000 {
		terminal, err := e.Terminals("").Open(t.Context(), coppice.TerminalSpec{ID: fmt.Sprint(i), Command: "sleep 3600", Size: usualSize})
		if errors.Is(err, coppice.ErrTooMany) {
			if i < 16 {
				t.Errorf("there can be only %d terminals", i)
			}
			_, err := e.Terminals("").Close(t.Context(), "0")
			must(t, err)
			e.open(t, coppice.TerminalSpec{Command: "exit"}).exits(coppice.TerminalExit{})
			return
		}
		must(t, err)
		must(t, terminal.Close())
	}
	t.Error("there can be any number of terminals")
}

// A reader that has stopped neither holds up the program nor other readers,
// and is shown the screen when it reads on.
func testTerminalSlowReader(t *testing.T, e *exam) {
	const size = 4 << 20 // more than any buffer on the way
	slow, err := e.Terminals("").Open(t.Context(), coppice.TerminalSpec{ID: "slow", Size: usualSize})
	must(t, err)
	v := e.attach(t, "slow", usualSize)
	v.types(fmt.Sprintf("head -c %d /dev/zero; echo; echo last$LANG\r", size))
	v.until("lastC.UTF-8")
	must(t, v.Signal(t.Context(), "SIGKILL"))
	v.exits(coppice.TerminalExit{Code: 137, Signal: "SIGKILL"})
	late := watchTerminal(t, slow, nil)
	late.exits(coppice.TerminalExit{Code: 137, Signal: "SIGKILL"})
	if !strings.Contains(late.seen.String(), "lastC.UTF-8") || late.seen.Len() >= size {
		shown := late.seen.String()
		t.Errorf("who read too late was shown %d bytes, which end with %q", len(shown), shown[max(0, len(shown)-2000):])
	}
}

func testTerminalContext(t *testing.T, e *exam) {
	ctx, cancel := context.WithCancel(t.Context())
	terminal, err := e.Terminals("").Open(ctx, coppice.TerminalSpec{ID: "context", Size: usualSize})
	v := watchTerminal(t, terminal, err)
	cancel()
	if err := v.end(); !errors.Is(err, context.Canceled) {
		t.Errorf("a terminal whose context ended: %v, want Canceled", err)
	}
	must(t, v.Close())
	v = e.attach(t, "context", usualSize)
	v.types("exit\r")
	v.exits(coppice.TerminalExit{})
}

// Whenever the connection breaks, what a typist types arrives once, and in order.
func testTerminalTypist(t *testing.T, e *exam) {
	const lines = 60
	typist, size := coppice.NewTypist(), coppice.TerminalSize{Cols: 200, Rows: 24}
	terminal, err := e.Terminals("").Open(t.Context(), coppice.TerminalSpec{ID: "typist", Size: size, Typist: typist})
	must(t, err)
	attach := func(typist *coppice.Typist) coppice.Terminal {
		for {
			terminal, err := e.Terminals("").Attach(t.Context(), "typist", size, typist)
			if !errors.Is(err, coppice.ErrGuestGone) {
				must(t, err)
				return terminal
			}
		}
	}
	var breaks sync.WaitGroup
	typed := int64(0)
	for i := range lines {
		if i%3 == 1 {
			breaks.Go(e.hangUp) // before, while or after the guest takes it
		}
		line := fmt.Appendf(nil, "echo line-%d-$LANG\r", i)
		for typed += int64(len(line)); len(line) > 0; {
			n, err := terminal.Write(line)
			if line = line[n:]; err == nil {
				continue
			}
			if !errors.Is(err, coppice.ErrGuestGone) {
				t.Fatalf("typing on a connection that breaks: %v, want ErrGuestGone", err)
			}
			must(t, terminal.Close())
			terminal = attach(typist)
		}
	}
	must(t, terminal.Close())
	breaks.Wait()
	if typist.Typed != typed {
		t.Errorf("the typist is said to have typed %d bytes, and did %d", typist.Typed, typed)
	}
	v := watchTerminal(t, attach(nil), nil)
	v.types("echo over-$LANG\r")
	v.until("over-C.UTF-8")
	var shown, want []string
	for _, match := range regexp.MustCompile(`line-(\d+)-C\.UTF-8`).FindAllStringSubmatch(v.seen.String(), -1) {
		shown = append(shown, match[1])
	}
	for i := range lines {
		want = append(want, fmt.Sprint(i))
	}
	if !slices.Equal(shown, want) {
		t.Errorf("what was typed was run as %q", shown)
	}
	v.types("exit\r")
	v.exits(coppice.TerminalExit{})
}
