//go:build failpoints

package failpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Fault is what befalls a daemon at a point: [Kill], [Hang], [Stop], or that the
// step fails with an errno.
type Fault int

const (
	none Fault = 0
	Kill Fault = -1 // it dies
	Hang Fault = -2 // the step takes until its context ends, or until [Life.Release]
	Stop Fault = -3 // all of a process stands still until it is told to go on
)

func (f Fault) String() string {
	switch f {
	case Kill:
		return "kill"
	case Hang:
		return "hang"
	case Stop:
		return "stop"
	}
	return unix.ErrnoName(syscall.Errno(f))
}

// A Passage is the Nth time that a life passes a point, from 1 on.
type Passage struct {
	Point string
	N     int
}

func (p Passage) String() string { return fmt.Sprintf("%s#%d", p.Point, p.N) }

// A Step is a passage as it was made.
type Step struct {
	Passage
	Stage
}

// A Stage is how far a step was.
type Stage int

const (
	Looking Stage = iota // about to look at something: [Point.Look]
	Doing                // before a side effect or between two: [Point.Hit]
	Done                 // after one: [Point.Done]
)

// A Life is that of one daemon: what it passes, and what befalls it there. The
// life of the process ends by SIGKILL; others are daemons of a test that share a
// process, and end in that nothing is done for them any more.
type Life struct {
	mu     sync.Mutex
	seen   map[string]int
	trail  []Step
	faults map[Passage]Fault
	whens  map[Passage]func()

	process bool
	orders  string // a file that faults come from; of the process only
	dead    chan struct{}
	calls   int // in flight

	release  sync.Once
	released chan struct{} // closed by Release
}

// ErrDead is what a call comes to of a daemon that has died.
var ErrDead = errors.New("the daemon is dead")

// NewLife returns the life of a daemon of a test's.
func NewLife() *Life {
	return &Life{seen: map[string]int{}, faults: map[Passage]Fault{}, dead: make(chan struct{}), released: make(chan struct{})}
}

// process is the life of what does not belong to another.
var process = sync.OnceValue(func() *Life {
	l := NewLife()
	l.process = true
	text := os.Getenv(Env)
	if name, ok := strings.CutPrefix(text, "@"); ok {
		l.orders = name
		return l
	}
	l.expect(text)
	return l
})

// expect has faults befall the life of the process from now on.
func (l *Life) expect(text string) {
	faults, err := ParseFaults(text)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", Env, err))
	}
	l.seen, l.faults = map[string]int{}, faults
}

// obey takes faults from the file of orders, if it is there, and removes it: they
// are for one process only. The caller holds l.mu.
func (l *Life) obey() {
	text, err := os.ReadFile(l.orders)
	if err == nil && os.Remove(l.orders) == nil {
		l.expect(strings.TrimSpace(string(text)))
	}
}

type key struct{}

// LifeOf returns the life that ctx belongs to, by [Life.Call], or else the process's.
func LifeOf(ctx context.Context) *Life {
	if l, ok := ctx.Value(key{}).(*Life); ok {
		return l
	}
	return process()
}

// Begin forgets what was passed, and has faults befall the life from now on.
func (l *Life) Begin(faults map[Passage]Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.trail, l.faults, l.whens = map[string]int{}, nil, faults, nil
}

// When has do done when a passage is made, until [Life.Begin]; the step goes on
// when it has been.
func (l *Life) When(p Passage, do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.whens = map[Passage]func(){p: do}
}

// Release has every step that hangs go on as if nothing had been, for good.
func (l *Life) Release() { l.release.Do(func() { close(l.released) }) }

// Trail returns what was passed since [Life.Begin].
func (l *Life) Trail() []Step {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.trail)
}

// Passed reports whether a passage was made since [Life.Begin].
func (l *Life) Passed(p Passage) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[p.Point] >= p.N
}

// Dead returns a channel that is closed when the life has ended.
func (l *Life) Dead() <-chan struct{} { return l.dead }

// Call does something for the daemon whose life it is. If it dies meanwhile, do
// goes no further than to its next point, and deferred calls; ErrDead is what
// that comes to, and every call from then on.
func (l *Life) Call(ctx context.Context, do func(context.Context) error) error {
	if l == nil {
		return do(ctx)
	}
	if !l.enter() {
		return ErrDead
	}
	err := ErrDead
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer l.leave()
		err = do(context.WithValue(ctx, key{}, l))
	}()
	<-done
	return err
}

func (l *Life) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended() {
		return false
	}
	l.calls++
	return true
}

func (l *Life) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls--
}

// Busy reports whether something is being done for the daemon.
func (l *Life) Busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls > 0
}

// pass notes that a point was passed, and returns what befalls the life there.
func (l *Life) pass(point string, at Stage) Fault {
	l.mu.Lock()
	if l.orders != "" {
		l.obey()
	}
	l.seen[point]++
	step := Step{Passage{point, l.seen[point]}, at}
	if !l.process {
		l.trail = append(l.trail, step)
	}
	fault := l.faults[step.Passage]
	if fault == Kill && !l.ended() {
		if l.process {
			unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
		close(l.dead)
	}
	if fault == Stop {
		unix.Kill(os.Getpid(), unix.SIGSTOP)
	}
	ended, do := l.ended(), l.whens[step.Passage]
	l.mu.Unlock()
	if ended {
		runtime.Goexit()
	}
	if do != nil {
		do()
	}
	return fault
}

func (l *Life) ended() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

// ParseFaults reads faults as in "pool/fill/cloned#2=kill,store/UpdateVM=ENOSPC":
// a point, which passage of it (the first if it does not say), and kill, hang,
// stop or an errno.
func ParseFaults(text string) (map[Passage]Fault, error) {
	faults := map[Passage]Fault{}
	for _, entry := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		where, what, _ := strings.Cut(entry, "=")
		point, nth, counted := strings.Cut(where, "#")
		p := Passage{point, 1}
		if counted {
			var err error
			if p.N, err = strconv.Atoi(nth); err != nil || p.N < 1 {
				return nil, fmt.Errorf("%q: after # comes which passage it is, from 1 on", entry)
			}
		}
		if !slices.Contains(List(), point) {
			return nil, fmt.Errorf("there is no point %q", point)
		}
		fault, err := parseFault(what)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", entry, err)
		}
		faults[p] = fault
	}
	return faults, nil
}

func parseFault(text string) (Fault, error) {
	switch text {
	case "kill":
		return Kill, nil
	case "hang":
		return Hang, nil
	case "stop":
		return Stop, nil
	}
	for errno := range syscall.Errno(134) {
		if name := unix.ErrnoName(errno); name == text && name != "" {
			return Fault(errno), nil
		}
	}
	return none, fmt.Errorf("%q is none of kill, hang, stop and errnos like ENOSPC", text)
}
