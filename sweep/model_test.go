//go:build failpoints

package sweep_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
)

var (
	modelTime = flag.Duration("model-time", 5*time.Second, "how long clients issue random verbs")
	modelSeed = flag.Uint64("model-seed", 0, "of what the clients choose; 0 is one by the clock")
)

// A model is what a VM is like.
type model struct {
	state        coppice.State
	memory, disk string
}

// A call is something that a client asked of a VM, and what it was answered.
type call struct {
	verb       string
	arg        string // what to keep or to write
	begin, end time.Duration
	err        error
	got        string // what was kept or read, or was in a fork's child
}

func (c call) String() string {
	return fmt.Sprintf("%8.3f to %8.3f ms  %s %s = %q, %v", c.begin.Seconds()*1e3, c.end.Seconds()*1e3, c.verb, c.arg, c.got, c.err)
}

// next returns what a VM may be like after a call that was answered as it was;
// none if it could not have been answered so.
func (m model) next(c call) []model {
	code := coppice.Code("")
	if c.err != nil {
		code = coppice.CodeOf(c.err)
	}
	switch {
	case code == coppice.CodeVMDeleted || code == coppice.CodeVMNotFound:
		return m.when(m.state == coppice.Absent)
	case code == coppice.CodeVMNotRunning && c.verb != "start":
		return m.when(m.state == coppice.Stopped || m.state == coppice.Failed)
	case code == coppice.CodeConflict && (c.verb == "stop" || c.verb == "kill"):
		return []model{m, {state: coppice.Failed, disk: m.disk}} // it may have been cut short by a kill
	case code == coppice.CodeConflict, code == coppice.CodeVMSuspending, code == coppice.CodeStillCreating:
		return []model{m}
	case c.err != nil && (c.verb == "keep" || c.verb == "write"):
		// The VM may have gone away under it, before or after.
		woken := m.awake()
		return append(woken.does(c), m, woken)
	case c.err != nil && (c.verb == "kept" || c.verb == "read" || c.verb == "fork"):
		return []model{m, m.awake()}
	case c.err != nil, m.state == coppice.Absent && c.verb != "delete":
		return nil
	}
	switch c.verb {
	case "start":
		if m.state != coppice.Running && m.state != coppice.Suspended {
			m.memory = ""
		}
		m.state = coppice.Running
		return []model{m}
	case "stop", "kill":
		return []model{{state: coppice.Stopped, disk: m.disk}}
	case "suspend":
		ok := m.state == coppice.Running || m.state == coppice.Suspended
		m.state = coppice.Suspended
		return m.when(ok)
	case "delete":
		return []model{{state: coppice.Absent}}
	case "fork":
		if m.state == coppice.Stopped {
			return m.when(c.got == seen("", m.disk))
		}
		return m.when(c.got == seen(m.memory, m.disk))
	}
	return m.awake().does(c)
}

// when returns m if that can be.
func (m model) when(ok bool) []model {
	if !ok {
		return nil
	}
	return []model{m}
}

// awake is what a VM is like that somebody uses.
func (m model) awake() model {
	if m.state == coppice.Suspended {
		m.state = coppice.Running
	}
	return m
}

// does is next of a command in the guest, which runs.
func (m model) does(c call) []model {
	switch running := m.state == coppice.Running; c.verb {
	case "keep":
		m.memory = c.arg
		return m.when(running)
	case "write":
		m.disk = c.arg
		return m.when(running)
	case "kept":
		return m.when(running && c.got == m.memory)
	default:
		return m.when(running && c.got == m.disk)
	}
}

// seen writes what is in a guest.
func seen(memory, disk string) string { return memory + "|" + disk }

// linear returns nil if calls could have been answered so by a VM that does one at
// a time, each at some moment between its beginning and its end. Otherwise it
// returns an order that explains as many of them as can be, and those in question next.
func linear(m model, calls []call) error {
	calls = slices.Clone(calls)
	slices.SortFunc(calls, func(a, b call) int { return cmp.Compare(a.begin, b.begin) })
	type place struct {
		done string
		model
	}
	tried := map[place]bool{}
	done := make([]byte, len(calls))
	var order, best []call
	var stuck string
	var try func(m model) bool
	try = func(m model) bool {
		at := place{string(done), m}
		if len(order) == len(calls) || tried[at] {
			return len(order) == len(calls)
		}
		tried[at] = true
		// Whatever began after another one's end comes after it.
		first := time.Duration(math.MaxInt64)
		for i, c := range calls {
			if done[i] == 0 {
				first = min(first, c.end)
			}
		}
		var next []int
		for i, c := range calls {
			if done[i] == 0 && c.begin <= first {
				next = append(next, i)
			}
		}
		if len(order) >= len(best) {
			best, stuck = slices.Clone(order), fmt.Sprintf("then it is %+v, and next is one of\n", m)
			for _, i := range next {
				stuck += fmt.Sprintln(calls[i])
			}
		}
		for _, i := range next {
			done[i], order = 1, append(order, calls[i])
			for _, next := range m.next(calls[i]) {
				if try(next) {
					return true
				}
			}
			done[i], order = 0, order[:len(order)-1]
		}
		return false
	}
	if try(m) {
		return nil
	}
	var b strings.Builder
	for _, c := range best {
		fmt.Fprintln(&b, c)
	}
	return errors.New(b.String() + stuck)
}

// TestLinear holds that linear tells what can be from what cannot.
func TestLinear(t *testing.T) {
	running := model{state: coppice.Running}
	keep := call{verb: "keep", arg: "1", begin: 0, end: 10}
	for _, test := range []struct {
		what  string
		calls []call
		want  bool
	}{
		{"what was kept", []call{keep, {verb: "kept", got: "1", begin: 20, end: 30}}, true},
		{"not yet kept", []call{keep, {verb: "kept", got: "", begin: 5, end: 30}}, true},
		{"lost", []call{keep, {verb: "kept", got: "", begin: 20, end: 30}}, false},
		{"kept over a suspend", []call{keep, {verb: "suspend", begin: 11, end: 12}, {verb: "kept", got: "1", begin: 20, end: 30}}, true},
		{"kept over a stop", []call{keep, {verb: "stop", begin: 11, end: 12}, {verb: "start", begin: 13, end: 14}, {verb: "kept", got: "1", begin: 20, end: 30}}, false},
		{"used when stopped", []call{{verb: "stop", begin: 11, end: 12}, {verb: "kept", begin: 20, end: 30}}, false},
		{"forked before", []call{keep, {verb: "fork", got: seen("", ""), begin: 11, end: 12}}, false},
		{"started when deleted", []call{{verb: "delete", begin: 1, end: 2}, {verb: "start", begin: 3, end: 4}}, false},
	} {
		if err := linear(running, test.calls); (err == nil) != test.want {
			t.Errorf("%s: %v, want %v", test.what, err, test.want)
		}
	}
}

// A rival is a VM that many clients are at, and what they asked of it.
type rival struct {
	id coppice.VMID

	mu    sync.Mutex
	calls []call
	over  bool // it has been asked enough
}

// TestModel has many clients ask whatever they like of the same VMs at the same
// time, and holds the answers against a VM that does one thing at a time.
func TestModel(t *testing.T) {
	const clients, vms, most = 16, 6, 60
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	w, err := newCradle(t).world(0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	ctx, cancel := context.WithTimeout(t.Context(), *modelTime)
	defer cancel()

	var mu sync.Mutex
	var rivals [vms]*rival
	var all []*rival
	began := time.Now()
	// pick returns one of the VMs, a new one in place of one that was asked enough.
	pick := func(i int) (*rival, error) {
		mu.Lock()
		defer mu.Unlock()
		if r := rivals[i]; r != nil && !r.isOver() {
			return r, nil
		}
		vm, err := w.Create(t.Context(), coppice.NewVM{Account: alice})
		rivals[i] = &rival{id: vm.ID}
		all = append(all, rivals[i])
		return rivals[i], err
	}
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			for ctx.Err() == nil {
				rival, err := pick(r.IntN(vms))
				if err != nil {
					t.Errorf("create: %v", err)
					return
				}
				c := call{verb: choose(r), arg: fmt.Sprint(r.Uint32()), begin: time.Since(began)}
				c.got, c.err = w.ask(t.Context(), rival.id, c)
				c.end = time.Since(began)
				rival.add(c, most)
			}
		})
	}
	wg.Wait()
	asked := 0
	for _, r := range all {
		asked += len(r.calls)
		if err := linear(model{state: coppice.Running, disk: "of the image"}, r.calls); err != nil {
			t.Errorf("seed %d: VM %s cannot have answered so:\n%v", seed, r.id, err)
		}
	}
	if asked < clients {
		t.Errorf("only %d calls were made", asked)
	}
	if err := errors.Join(w.raze(t.Context()), w.inOrder(t.Context()), w.empty(t.Context())); err != nil {
		t.Errorf("seed %d: %v\n%s", seed, err, w.log)
	}
	t.Logf("%d calls of %d clients, at %d VMs; seed %d", asked, clients, len(all), seed)
}

func (r *rival) isOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

func (r *rival) add(c call, most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
	r.over = r.over || len(r.calls) >= most || c.verb == "delete" && c.err == nil
}

// choose returns a verb, those more often that leave a VM to be used.
func choose(r *rand.Rand) string {
	verbs := []string{"keep", "keep", "kept", "kept", "kept", "write", "read", "read", "start", "start", "start", "suspend", "suspend", "stop", "kill", "fork", "delete"}
	if verb := verbs[r.IntN(len(verbs))]; verb != "delete" || r.IntN(4) == 0 {
		return verb
	}
	return "kept"
}

// ask makes a call.
func (w *world) ask(ctx context.Context, id coppice.VMID, c call) (got string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s := subject{vm: coppice.VM{ID: id}}
	switch c.verb {
	case "start":
		return "", start(ctx, w, s)
	case "stop":
		return "", stop(ctx, w, s)
	case "kill":
		return "", kill(ctx, w, s)
	case "suspend":
		return "", suspend(ctx, w, s)
	case "delete":
		return "", remove(ctx, w, s)
	case "fork":
		return w.askChild(ctx, id)
	}
	return w.exec(ctx, id, strings.TrimSpace(c.verb+" "+c.arg))
}

// askChild forks a VM and returns what is in the child, which it removes.
func (w *world) askChild(ctx context.Context, id coppice.VMID) (got string, err error) {
	forks, err := w.Fork(ctx, alice, id, coppice.ForkSpec{Count: 1})
	if err != nil {
		return "", err
	}
	if forks[0].Err != nil {
		return "", forks[0].Err
	}
	child := forks[0].VM.ID
	memory, keptErr := w.exec(ctx, child, "kept")
	disk, readErr := w.exec(ctx, child, "read")
	_, deleteErr := w.Delete(ctx, alice, child)
	return seen(memory, disk), errors.Join(keptErr, readErr, deleteErr)
}
