package conformance

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/examguest"
)

// A HypervisorHost is where hypervisors are examined. Its guests run the
// program of package examguest.
type HypervisorHost struct {
	// Open returns a hypervisor of the host, as a daemon that starts does. The
	// one returned before lets go of its runs.
	Open func() coppice.Hypervisor
	// Boot returns a new VM that boots, with its files.
	Boot func() coppice.Machine
	// NewCapture returns names for the files of a capture.
	NewCapture func() coppice.CaptureFiles
	// Restore returns a new VM of the same size that continues a capture of
	// m, with a disk of its own.
	Restore func(m coppice.Machine, c coppice.CaptureFiles) coppice.Machine
	// Refill makes a VM's disk, which stays the same file, what a capture's is.
	Refill func(disk string, c coppice.CaptureFiles)
	// Crash ends the process of the VM's run behind the hypervisor's back.
	Crash func(coppice.VMID)
	// Starve has no space left for the disk of a VM, until it is fed.
	Starve func(coppice.Machine) (feed func())
}

// patience bounds every wait for a guest. It is long because guests are slow
// to boot where they are emulated on a busy host.
const patience = 2 * time.Minute

// TestHypervisor examines a hypervisor on a host. Guests are booted once and
// restored from then on.
func TestHypervisor(t *testing.T, host HypervisorHost) {
	e := &hypervisorExam{HypervisorHost: host, h: host.Open()}
	if !t.Run("boots", e.boots) {
		return
	}
	tests := []struct {
		name string
		test func(*testing.T, *hypervisorExam)
	}{
		{"captures a guest that goes on", capturesRunning},
		{"captures a capture's child", capturesNested},
		{"leaves a guest paused", capturesPaused},
		{"goes on after a failed capture", captureFails},
		{"says that a guest waits", guestWaits},
		{"tells how a guest ended", guestEnds},
		{"kills", kills},
		{"has one run for a VM", startsOnce},
		{"leaves nothing of a failed start", startFails},
		{"prepares", prepares},
		{"finds runs of an earlier daemon", attaches},
		{"finds out how a guest ended meanwhile", attachesEnded},
		{"discards", discards},
		{"keeps the console", keepsConsole},
		{"measures", measures},
		{"tells what is there", hypervisorTraces},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e.t = t
			test.test(t, e)
		})
	}
	if left, err := e.h.Runs(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("runs left at the end: %v, %v", left, err)
	}
}

// A hypervisorExam is an exam in progress.
type hypervisorExam struct {
	HypervisorHost
	t *testing.T // the part in progress
	h coppice.Hypervisor
	// The guest that was booted, and its capture: value and block are kept in
	// its memory and written to its disk.
	booted coppice.Machine
	seed   coppice.CaptureFiles
}

const (
	seedValue = "what memory held"
	seedBlock = "what the disk held"
)

// boots boots the one guest that is ever booted, and captures it for the rest.
func (e *hypervisorExam) boots(t *testing.T) {
	e.t = t
	e.booted = e.Boot()
	r := e.start(e.booted)
	e.ask(r, "keep", seedValue)
	e.ask(r, "write", seedBlock)
	if got := e.ask(r, "kept", ""); got != seedValue {
		t.Errorf("memory holds %q, want %q", got, seedValue)
	}
	e.seed = e.NewCapture()
	_, err := r.Capture(e.ctx(), e.seed, coppice.LeaveRunning)
	must(t, err)
}

// ctx returns a context for one step.
func (e *hypervisorExam) ctx() context.Context {
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	e.t.Cleanup(cancel)
	return ctx
}

// start starts a machine, which is gone at the end of the test.
func (e *hypervisorExam) start(m coppice.Machine) coppice.Run {
	t := e.t
	t.Helper()
	r, err := e.h.Start(e.ctx(), m)
	must(t, err)
	t.Cleanup(func() {
		if err := e.h.Discard(context.Background(), m.VM); err != nil {
			t.Errorf("discard at the end: %v", err)
		}
	})
	return r
}

// restore starts a new VM from the seed.
func (e *hypervisorExam) restore() (coppice.Machine, coppice.Run) {
	e.t.Helper()
	m := e.Restore(e.booted, e.seed)
	return m, e.start(m)
}

// ask sends a guest a request and returns its result.
func (e *hypervisorExam) ask(r coppice.Run, verb, arg string) string {
	e.t.Helper()
	result, err := ask(e.ctx(), r, verb, arg)
	if err != nil {
		e.t.Fatalf("%s: %v", verb, err)
	}
	return result
}

func ask(ctx context.Context, r coppice.Run, verb, arg string) (string, error) {
	conn, err := r.DialAgent(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return examguest.Ask(ctx, conn, verb, arg)
}

// holds checks what a guest's memory and disk hold.
func (e *hypervisorExam) holds(who string, r coppice.Run, value, block string) {
	e.t.Helper()
	if got := e.ask(r, "kept", ""); got != value {
		e.t.Errorf("the memory of the %s holds %q, want %q", who, got, value)
	}
	if got := e.ask(r, "read", ""); got != block {
		e.t.Errorf("the disk of the %s holds %q, want %q", who, got, block)
	}
}

// tell sends a guest a request that ends it, and waits for that.
func (e *hypervisorExam) tell(r coppice.Run, verb string) coppice.Exit {
	e.t.Helper()
	ctx, stop := context.WithCancel(e.ctx())
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		ask(ctx, r, verb, "") // it may end before it answers
	}()
	exit, err := r.Wait(ctx)
	stop()
	<-asked
	must(e.t, err)
	return exit
}

// gone checks that nothing is left of a VM's run.
func (e *hypervisorExam) gone(id coppice.VMID) {
	e.t.Helper()
	runs, err := e.h.Runs(e.ctx())
	must(e.t, err)
	if slices.Contains(runs, id) {
		e.t.Errorf("the VM still has a process")
	}
	if _, err := e.h.Attach(e.ctx(), id); !errors.Is(err, coppice.ErrNoRun) {
		e.t.Errorf("attach: %v, want ErrNoRun", err)
	}
}

func capturesRunning(t *testing.T, e *hypervisorExam) {
	m, parent := e.restore()
	e.holds("parent", parent, seedValue, seedBlock)
	e.ask(parent, "keep", "then")
	e.ask(parent, "write", "disk then")
	c := e.NewCapture()
	began := time.Now()
	stats, err := parent.Capture(e.ctx(), c, coppice.LeaveRunning)
	must(t, err)
	if stats.Paused.Before(began) || stats.Paused.Add(stats.Pause).After(time.Now()) || stats.Pause < 0 || stats.DirtyMiB < 0 || stats.DirtyMiB > m.Size.MemoryMiB {
		t.Errorf("impossible figures: %+v", stats)
	}
	e.ask(parent, "keep", "later")
	e.ask(parent, "write", "disk later")

	first := e.start(e.Restore(m, c))
	e.holds("first child", first, "then", "disk then")
	e.ask(first, "keep", "mine")
	e.ask(first, "write", "my disk")
	e.holds("second child", e.start(e.Restore(m, c)), "then", "disk then")
	e.holds("parent", parent, "later", "disk later")
	e.holds("first child", first, "mine", "my disk")
	e.holds("seed's child", e.start(e.Restore(e.booted, e.seed)), seedValue, seedBlock)
}

func capturesNested(t *testing.T, e *hypervisorExam) {
	m, r := e.restore()
	value := ""
	for _, generation := range []string{"a", "b", "c"} {
		value += generation
		e.ask(r, "keep", value)
		e.ask(r, "write", "disk "+value)
		c := e.NewCapture()
		_, err := r.Capture(e.ctx(), c, coppice.LeaveRunning)
		must(t, err)
		m = e.Restore(m, c)
		r = e.start(m)
		e.holds("descendant "+value, r, value, "disk "+value)
	}
}

func capturesPaused(t *testing.T, e *hypervisorExam) {
	m, r := e.restore()
	c := e.NewCapture()
	_, err := r.Capture(e.ctx(), c, coppice.LeavePaused)
	must(t, err)
	short, cancel := context.WithTimeout(e.ctx(), 200*time.Millisecond)
	defer cancel()
	if got, err := ask(short, r, "kept", ""); err == nil {
		t.Errorf("the paused guest answered %q", got)
	}
	e.holds("child", e.start(e.Restore(m, c)), seedValue, seedBlock)
	must(t, r.Resume(e.ctx()))
	e.holds("guest", r, seedValue, seedBlock)
}

// A guest whose disk has no space waits, says so, and goes on by itself.
func guestWaits(t *testing.T, e *hypervisorExam) {
	m, r := e.restore()
	if what, _ := r.Waits(); what != "" {
		t.Errorf("it waits, and %s", what)
	}
	feed := e.Starve(m)
	written := make(chan error, 1)
	go func() {
		_, err := ask(e.ctx(), r, "write", "fill 20")
		written <- err
	}()
	e.await(r, true)
	select {
	case err := <-written:
		t.Errorf("it wrote where there is no space (%v)", err)
	default:
	}
	feed()
	e.await(r, false)
	must(t, <-written)
	if got := e.ask(r, "read", ""); got != "fill 20" {
		t.Errorf("the disk holds %q", got)
	}
}

// await returns when a guest waits for something, or does not any more.
func (e *hypervisorExam) await(r coppice.Run, waits bool) {
	e.t.Helper()
	for {
		what, changed := r.Waits()
		if (what != "") == waits {
			return
		}
		select {
		case <-changed:
		case <-e.ctx().Done():
			e.t.Fatalf("what it waits for is still %q", what)
		}
	}
}

func captureFails(t *testing.T, e *hypervisorExam) {
	for _, leave := range []coppice.Leave{coppice.LeaveRunning, coppice.LeavePaused} {
		m, r := e.restore()
		for _, spoil := range []func(*coppice.CaptureFiles){
			func(c *coppice.CaptureFiles) { c.Memory += "/not/there" },
			func(c *coppice.CaptureFiles) { c.State += "/not/there" },
			func(c *coppice.CaptureFiles) { c.Disk += "/not/there" },
		} {
			c := e.NewCapture()
			spoil(&c)
			if _, err := r.Capture(e.ctx(), c, leave); err == nil {
				t.Errorf("a capture to %+v works", c)
			}
			e.holds("guest", r, seedValue, seedBlock)
		}
		c := e.NewCapture()
		_, err := r.Capture(e.ctx(), c, coppice.LeaveRunning)
		must(t, err)
		e.holds("child of the next capture", e.start(e.Restore(m, c)), seedValue, seedBlock)
	}
}

func guestEnds(t *testing.T, e *hypervisorExam) {
	for verb, want := range map[string]coppice.ExitKind{
		"poweroff": coppice.ExitPowerOff, "reboot": coppice.ExitReboot, "panic": coppice.ExitPanic,
	} {
		m, r := e.restore()
		exit := e.tell(r, verb)
		if exit.Kind != want || exit.Detail == "" {
			t.Errorf("%s is reported as %+v, want %q with a detail", verb, exit, want)
		}
		if _, err := r.DialAgent(e.ctx()); !errors.Is(err, coppice.ErrNoRun) {
			t.Errorf("dial after %s: %v, want ErrNoRun", verb, err)
		}
		if _, err := r.Capture(e.ctx(), e.NewCapture(), coppice.LeaveRunning); !errors.Is(err, coppice.ErrNoRun) {
			t.Errorf("capture after %s: %v, want ErrNoRun", verb, err)
		}
		must(t, r.Kill(e.ctx()))
		e.gone(m.VM)
		if again, err := r.Wait(e.ctx()); err != nil || again != exit {
			t.Errorf("after the kill the exit is %+v, %v; it was %+v", again, err, exit)
		}
	}
	m, r := e.restore()
	e.Crash(m.VM)
	exit, err := r.Wait(e.ctx())
	must(t, err)
	if exit.Kind != coppice.ExitCrash || exit.Detail == "" {
		t.Errorf("a crash is reported as %+v", exit)
	}
	must(t, r.Kill(e.ctx()))
	e.gone(m.VM)
}

func kills(t *testing.T, e *hypervisorExam) {
	m, r := e.restore()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Wait(over); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v, want the context's error", err)
	}
	must(t, r.Kill(e.ctx()))
	if exit, err := r.Wait(e.ctx()); err != nil || exit.Kind != coppice.ExitKilled {
		t.Errorf("a kill is reported as %+v, %v", exit, err)
	}
	e.gone(m.VM)
	// The old run has no say over the next one.
	next := e.start(m)
	must(t, r.Kill(e.ctx()))
	e.ask(next, "kept", "")
}

func startsOnce(t *testing.T, e *hypervisorExam) {
	m, r := e.restore()
	if _, err := e.h.Start(e.ctx(), m); !errors.Is(err, coppice.ErrExists) {
		t.Errorf("a second start: %v, want ErrExists", err)
	}
	runs, err := e.h.Runs(e.ctx())
	must(t, err)
	if !slices.Contains(runs, m.VM) {
		t.Errorf("runs are %v, want %s among them", runs, m.VM)
	}
	e.holds("guest", r, seedValue, seedBlock)
}

func startFails(t *testing.T, e *hypervisorExam) {
	good := e.Restore(e.booted, e.seed)
	for _, spoil := range []func(*coppice.Machine){
		func(m *coppice.Machine) { m.Disk += ".not-there" },
		func(m *coppice.Machine) { m.Memory += ".not-there" },
		func(m *coppice.Machine) { m.State += ".not-there" },
		func(m *coppice.Machine) { m.State = "" },
	} {
		bad := good
		spoil(&bad)
		if _, err := e.h.Start(e.ctx(), bad); err == nil {
			t.Errorf("%+v starts", bad)
			must(t, e.h.Discard(e.ctx(), bad.VM))
		}
		e.gone(good.VM)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.h.Start(over, good); !errors.Is(err, context.Canceled) {
		t.Errorf("start after its time: %v, want the context's error", err)
	}
	e.gone(good.VM)
	e.holds("guest", e.start(good), seedValue, seedBlock)
}

func prepares(t *testing.T, e *hypervisorExam) {
	// prepare prepares a new VM, and returns what it is then to continue.
	prepare := func() coppice.Machine {
		m := e.Boot()
		must(t, e.h.Prepare(e.ctx(), m))
		t.Cleanup(func() { e.h.Discard(context.Background(), m.VM) })
		m.Boot, m.Memory, m.State = nil, e.seed.Memory, e.seed.State
		return m
	}
	m := prepare()
	if runs, err := e.h.Runs(e.ctx()); err != nil || !slices.Contains(runs, m.VM) {
		t.Errorf("runs are %v, %v; want what was prepared among them", runs, err)
	}
	if err := e.h.Prepare(e.ctx(), m); !errors.Is(err, coppice.ErrExists) {
		t.Errorf("prepared a second time: %v, want ErrExists", err)
	}
	e.Refill(m.Disk, e.seed)
	r := e.start(m)
	e.holds("guest", r, seedValue, seedBlock)
	e.ask(r, "keep", "then")
	e.ask(r, "write", "disk then")
	c := e.NewCapture()
	_, err := r.Capture(e.ctx(), c, coppice.LeaveRunning)
	must(t, err)
	e.holds("guest, captured", r, "then", "disk then")
	e.holds("child", e.start(e.Restore(m, c)), "then", "disk then")
	e.h = e.Open()
	r, err = e.h.Attach(e.ctx(), m.VM)
	must(t, err)
	e.holds("survivor", r, "then", "disk then")

	// What cannot be used is ended, and the start works all the same.
	m = prepare()
	other := e.Restore(m, e.seed)
	m.Disk = other.Disk
	e.holds("guest on another disk", e.start(m), seedValue, seedBlock)

	m = prepare()
	must(t, e.h.Discard(e.ctx(), m.VM))
	e.gone(m.VM)
	// The one who comes next can do nothing with it.
	m = prepare()
	e.h = e.Open()
	if _, err := e.h.Attach(e.ctx(), m.VM); !errors.Is(err, coppice.ErrNoRun) {
		t.Errorf("attach to what was prepared: %v, want ErrNoRun", err)
	}
	e.gone(m.VM)
}

func attaches(t *testing.T, e *hypervisorExam) {
	running, r := e.restore()
	e.ask(r, "keep", "before")
	paused, r := e.restore()
	_, err := r.Capture(e.ctx(), e.NewCapture(), coppice.LeavePaused)
	must(t, err)

	e.h = e.Open()
	runs, err := e.h.Runs(e.ctx())
	must(t, err)
	for id, value := range map[coppice.VMID]string{running.VM: "before", paused.VM: seedValue} {
		if !slices.Contains(runs, id) {
			t.Errorf("runs are %v, want %s among them", runs, id)
		}
		r, err := e.h.Attach(e.ctx(), id)
		must(t, err)
		e.holds("survivor", r, value, seedBlock)
		again, err := e.h.Attach(e.ctx(), id)
		must(t, err)
		e.holds("survivor, attached to twice", again, value, seedBlock)
		if exit := e.tell(r, "poweroff"); exit.Kind != coppice.ExitPowerOff {
			t.Errorf("its end is reported as %+v", exit)
		}
		must(t, r.Kill(e.ctx()))
		e.gone(id)
	}
	if _, err := e.h.Attach(e.ctx(), coppice.NewVMID()); !errors.Is(err, coppice.ErrNoRun) {
		t.Errorf("attach to a VM nobody knows: %v, want ErrNoRun", err)
	}
}

func attachesEnded(t *testing.T, e *hypervisorExam) {
	ended := map[coppice.VMID]coppice.ExitKind{}
	for verb, kind := range map[string]coppice.ExitKind{
		"poweroff": coppice.ExitPowerOff, "reboot": coppice.ExitReboot, "panic": coppice.ExitPanic,
	} {
		m, r := e.restore()
		if exit := e.tell(r, verb); exit.Kind != kind {
			t.Errorf("%s is reported as %+v", verb, exit)
		}
		ended[m.VM] = kind
	}
	crashed, _ := e.restore()
	e.h = e.Open()
	e.Crash(crashed.VM)
	for id, kind := range ended {
		r, err := e.h.Attach(e.ctx(), id)
		must(t, err)
		if exit, err := r.Wait(e.ctx()); err != nil || exit.Kind != kind || exit.Detail == "" {
			t.Errorf("found out %+v, %v; want %q", exit, err, kind)
		}
		must(t, r.Kill(e.ctx()))
	}
	e.gone(crashed.VM)
}

func discards(t *testing.T, e *hypervisorExam) {
	attached, r := e.restore()
	must(t, e.h.Discard(e.ctx(), attached.VM))
	if exit, err := r.Wait(e.ctx()); err != nil || exit.Kind != coppice.ExitKilled {
		t.Errorf("its end is reported as %+v, %v", exit, err)
	}
	e.gone(attached.VM)

	survivor, _ := e.restore()
	e.h = e.Open()
	must(t, e.h.Discard(e.ctx(), survivor.VM))
	e.gone(survivor.VM)
	must(t, e.h.Discard(e.ctx(), survivor.VM))
	must(t, e.h.Discard(e.ctx(), coppice.NewVMID()))
}

func keepsConsole(t *testing.T, e *hypervisorExam) {
	m, r := e.restore()
	e.ask(r, "print", "in the first run")
	must(t, r.Kill(e.ctx()))
	r = e.start(m)
	e.ask(r, "print", "in the second run")
	console, err := e.h.Console(e.ctx(), m.VM)
	must(t, err)
	first, second := strings.Index(string(console), "in the first run"), strings.Index(string(console), "in the second run")
	if first < 0 || second < first {
		t.Errorf("the console has:\n%s", console)
	}
	must(t, r.Kill(e.ctx()))
	must(t, e.h.RemoveConsole(e.ctx(), m.VM))
	must(t, e.h.RemoveConsole(e.ctx(), m.VM))
	if console, err := e.h.Console(e.ctx(), m.VM); err != nil || len(console) != 0 {
		t.Errorf("after its removal the console has %q, %v", console, err)
	}
}
