//go:build failpoints

package sweep_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/guest/wire"
	"github.com/coppice-vm/coppice/lifecycle"
)

const (
	// answerTime is longer than a boot may take, and what is taken back.
	answerTime = 6 * time.Minute
	// clockTime is longer than the clock of a guest may take to be set, when it has
	// been captured and somebody answered.
	clockTime = 20 * time.Second
	// workTime is longer than what is asked of a guest may take that does not answer,
	// or cannot be connected with.
	workTime = 150 * time.Second
	// stopTime is longer than a guest may take that is asked to shut down.
	stopTime = 90 * time.Second
)

// TestLyingAgents has the agents of VMs lie to whatever speaks to them. Every call
// is answered in its time, with a code where it fails; a VM whose agent lies can
// be stopped and deleted, another works all the while, and nothing is left.
func TestLyingAgents(t *testing.T) {
	// yamux keeps timers for whoever comes next, who must not be in another bubble.
	runtime.GC()
	runtime.GC()
	synctest.Test(t, func(t *testing.T) {
		var all sync.WaitGroup
		var told atomic.Int64
		for _, l := range lies() {
			for _, k := range talks() {
				if l.request != nil && !k.asks {
					continue
				}
				all.Go(func() {
					n, err := lieTo(t.Context(), l, k)
					if err != nil {
						t.Errorf("%s, at a %s: %v", l.name, k.name, err)
					}
					told.Add(int64(n))
				})
			}
		}
		all.Wait()
		t.Logf("%d lies were told, of %d kinds, at %d kinds of talk", told.Load(), len(lies()), len(talks()))
	})
}

// lieTo has agents lie when something is talked about, and returns how often.
func lieTo(ctx context.Context, l lie, k talk) (told int, err error) {
	p, err := newParley(ctx)
	if err != nil {
		return 0, err
	}
	defer p.end()
	neighbour, err := p.create()
	if err != nil {
		return 0, err
	}
	subject, err := p.create()
	if err == nil && k.before != nil {
		_, err = k.before(p, subject)
	}
	if err != nil {
		return 0, err
	}
	p.agents.turn(l, func(id coppice.VMID) bool { return id != neighbour && (id == subject) != k.others })

	acted := make(chan error, 1)
	go func() { acted <- k.act(p, subject) }()
	answer, err := p.servedUntil(neighbour, acted, cmp.Or(k.within, answerTime))
	if err != nil {
		return 0, err
	}
	told = p.agents.tally()
	_, coded := errors.AsType[*coppice.Error](answer)
	unsaid := answer != nil && coppice.CodeOf(answer) == coppice.CodeInternal
	if k.commands && !coded { // which is in the words of the agent, or of nobody's
		unsaid = answer != nil && !errors.Is(answer, coppice.ErrGuestGone) && !errors.As(answer, new(*wire.Error))
	}
	switch {
	case told == 0:
		return 0, fmt.Errorf("nobody heard the lie; it was answered %v", answer)
	case unsaid, answer != nil && k.works, errors.Is(answer, errBelieved):
		return told, fmt.Errorf("it was answered %v", answer)
	}
	vms, err := p.VMs(ctx, alice, false)
	for _, vm := range vms {
		if vm.ID != neighbour {
			err = errors.Join(err, p.goes(&vm))
		}
	}
	return told, errors.Join(err, p.remains(neighbour))
}

// errBelieved is that something was believed that cannot be.
var errBelieved = errors.New("a lie was believed")

// inside does something by the session of a VM.
func inside(do func(context.Context, coppice.Session) error) func(*parley, coppice.VMID) error {
	return func(p *parley, id coppice.VMID) error {
		session, release, err := p.Use(p.ctx, alice, id, "test")
		if err != nil {
			return err
		}
		defer release()
		return do(p.ctx, session)
	}
}

// run has a command run in a VM.
func (p *parley) run(id coppice.VMID) error { return inside(command)(p, id) }

func command(ctx context.Context, session coppice.Session) error {
	status, err := session.Exec(ctx, coppice.ExecSpec{Command: "true", Timeout: 10 * time.Second}, coppice.Stdio{})
	if err == nil && !status.TimedOut && status.Code != 0 {
		return fmt.Errorf("%w: a status of %d", errBelieved, status.Code)
	}
	return err
}

// file reads a file, or lists a directory.
func file(ctx context.Context, s coppice.Session) error {
	f, err := s.Files("").Open(ctx, "file")
	if err != nil || f.Dir {
		return err
	}
	defer f.Content.Close()
	_, err = io.Copy(io.Discard, f.Content)
	return err
}

// terminal opens a terminal and looks at it for a while.
func terminal(ctx context.Context, s coppice.Session) error {
	t, err := s.Terminals("").Open(ctx, coppice.TerminalSpec{ID: "x", Size: coppice.TerminalSize{Cols: 80, Rows: 24}})
	if err != nil {
		return err
	}
	defer time.AfterFunc(time.Minute, func() { t.Close() }).Stop()
	_, err = io.Copy(io.Discard, t)
	return err
}

// connection connects to a port in the guest and reads for a while.
func connection(ctx context.Context, s coppice.Session) error {
	c, err := s.Dial(ctx, "", "tcp", "localhost:80")
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	_, err = io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // it lasts as long as one likes
	}
	return err
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A talk is something that has the host speak to agents.
type talk struct {
	name string
	// before brings a VM to where it begins; nil is one that runs.
	before func(*parley, coppice.VMID) (coppice.VM, error)
	act    func(*parley, coppice.VMID) error
	// others says that those lie that are made, and not the VM itself; works that
	// it is done whatever the agent says; asks that more is said than who the guest is.
	// commands says that it is an agent's answer that is returned.
	others, works, asks, commands bool
	// within is how long it may take; 0 is answerTime.
	within time.Duration
}

func talks() []talk {
	verb := func(do func(*lifecycle.Manager, context.Context, coppice.AccountID, coppice.VMID) (coppice.VM, error)) func(*parley, coppice.VMID) (coppice.VM, error) {
		return func(p *parley, id coppice.VMID) (coppice.VM, error) { return do(p.Manager, p.ctx, alice, id) }
	}
	fails := func(do func(*parley, coppice.VMID) (coppice.VM, error)) func(*parley, coppice.VMID) error {
		return func(p *parley, id coppice.VMID) error {
			_, err := do(p, id)
			return err
		}
	}
	stop, suspend := verb((*lifecycle.Manager).Stop), verb((*lifecycle.Manager).Suspend)
	start := fails(func(p *parley, id coppice.VMID) (coppice.VM, error) {
		return p.Start(p.ctx, alice, id, coppice.StartOptions{})
	})
	create := func(spec coppice.NewVM) func(*parley, coppice.VMID) error {
		spec.Account = alice
		return func(p *parley, _ coppice.VMID) error {
			_, err := p.Create(p.ctx, spec)
			return err
		}
	}
	return []talk{
		{name: "create", act: create(coppice.NewVM{}), others: true},
		{name: "create of another size", act: create(coppice.NewVM{Size: coppice.Size{MemoryMiB: 1024}}), others: true, asks: true},
		{name: "start", before: stop, act: start},
		{name: "resume", before: suspend, act: start},
		{name: "resume by use", before: suspend, act: (*parley).run, asks: true, commands: true},
		{name: "command", act: (*parley).run, asks: true, commands: true, within: time.Minute},
		{name: "command, to another daemon", before: func(p *parley, _ coppice.VMID) (vm coppice.VM, err error) {
			p.leave()
			return vm, p.open()
		}, act: (*parley).run, asks: true, commands: true, within: time.Minute},
		{name: "file", act: inside(file), asks: true, commands: true},
		{name: "file that is written", act: inside(func(ctx context.Context, s coppice.Session) error {
			return s.Files("").Write(ctx, "file", 0o644, io.LimitReader(zeros{}, 1<<20))
		}), asks: true, commands: true, within: workTime},
		{name: "terminals", act: inside(func(ctx context.Context, s coppice.Session) error {
			_, err := s.Terminals("").List(ctx)
			return err
		}), asks: true, commands: true, within: workTime},
		{name: "terminal", act: inside(terminal), asks: true, commands: true, within: workTime},
		{name: "connection", act: inside(connection), asks: true, commands: true, within: workTime},
		{name: "fork", act: func(p *parley, id coppice.VMID) error {
			forks, err := p.Fork(p.ctx, alice, id, coppice.ForkSpec{Count: 2})
			for _, f := range forks {
				err = errors.Join(err, f.Err)
			}
			return err
		}, others: true},
		{name: "fork of one that lies", act: func(p *parley, id coppice.VMID) error {
			honest := func(other coppice.VMID) bool { return other == id }
			p.agents.turn(p.agents.tells(id), honest)
			_, err := p.Fork(p.ctx, alice, id, coppice.ForkSpec{Count: 1})
			time.Sleep(clockTime)
			return err
		}, works: true, asks: true},
		{name: "snapshot", act: func(p *parley, id coppice.VMID) error {
			c, err := p.TakeSnapshot(p.ctx, alice, id, "", coppice.Persistence{})
			if err == nil {
				time.Sleep(clockTime)
				err = p.DeleteSnapshot(p.ctx, alice, c.ID)
			}
			return err
		}, works: true, asks: true},
		{name: "stop", act: fails(stop), works: true, asks: true, within: stopTime},
		{name: "resize", act: func(p *parley, id coppice.VMID) error {
			memory := int64(1024)
			_, err := p.Resize(p.ctx, alice, id, coppice.ResizeSpec{MemoryMiB: &memory})
			return err
		}, asks: true, within: 2 * answerTime}, // it boots again if it does not boot
		{name: "reboot", act: func(p *parley, id coppice.VMID) error {
			was, err := p.VM(p.ctx, alice, id)
			if err != nil {
				return err
			}
			p.hv.End(id, coppice.Exit{Kind: coppice.ExitReboot})
			for {
				time.Sleep(time.Second)
				vm, err := p.VM(p.ctx, alice, id)
				switch {
				case err != nil:
					return err
				case vm.Verb == coppice.Idle && vm.State == coppice.Running && vm.Instance != was.Instance:
					return nil
				case vm.Verb == coppice.Idle && vm.State != coppice.Running:
					return coppice.Errorf(coppice.CodeVMNotRunning, "%s", vm.Reason)
				}
			}
		}},
	}
}
