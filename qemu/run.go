package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
	"github.com/coppice-vm/coppice/qemu/ptrace"
	"github.com/coppice-vm/coppice/qemu/qmp"
)

// A run is one QEMU, attached to.
type run struct {
	hypervisor *Hypervisor
	machine    coppice.Machine
	dir        runDir
	proc       *process
	qmp        *qmp.Client
	log        *slog.Logger

	// What events say. The goroutine that reads them never waits, so there is
	// room for the one that counts.
	resumed chan struct{} // the guest executes
	stopped chan struct{} // the guest does not execute any more
	opened  chan struct{} // something in the guest has opened the agent's port

	guest        sync.Mutex // held while the guest is being paused or let go on, and guards:
	paused       bool       // Capture left it so
	freezer      *ptrace.Freezer
	triedFreezer bool

	waits waits

	ending sync.Once
	ended  chan struct{} // closed when exit is known
	exit   coppice.Exit

	killing sync.Mutex
	killed  bool // guarded by killing

	attached context.Context // until detach
	leave    context.CancelFunc
	watched  chan struct{} // closed when watch has returned
}

// connect attaches to the QEMU in dir, which is proc.
func (h *Hypervisor) connect(ctx context.Context, m coppice.Machine, dir runDir, proc *process) (*run, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	r := &run{
		hypervisor: h,
		machine:    m,
		dir:        dir,
		proc:       proc,
		log:        h.log.With("vm", m.VM, "instance", m.Instance),
		resumed:    make(chan struct{}, 1),
		stopped:    make(chan struct{}, 1),
		opened:     make(chan struct{}, 1),
		ended:      make(chan struct{}),
		watched:    make(chan struct{}),
	}
	r.attached, r.leave = context.WithCancel(context.Background())
	var err error
	if r.qmp, err = qmp.Dial(ctx, dir.qmp(), r.event); err != nil {
		return nil, err
	}
	go r.watch()
	return r, nil
}

// do executes a command of QEMU's.
func (r *run) do(ctx context.Context, command string, args, result any) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	return r.qmp.Do(ctx, command, args, result)
}

// doFile executes a command of QEMU's that takes a file.
func (r *run) doFile(ctx context.Context, command string, args any, f *os.File, result any) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	return r.qmp.DoFile(ctx, command, args, f, result)
}

// begin lets a new guest go and returns when it executes. One that is still
// loading its state then goes as soon as it has.
func (r *run) begin(ctx context.Context) error {
	if err := r.do(ctx, "cont", nil, nil); err != nil {
		return err
	}
	select {
	case <-r.resumed:
		return nil
	case <-r.qmp.Done():
		return r.qmp.Err()
	case <-ctx.Done():
		return fmt.Errorf("waiting for the guest to run: %w", context.Cause(ctx))
	}
}

// event takes what QEMU reports.
func (r *run) event(e qmp.Event) {
	switch e.Name {
	case "RESUME":
		notify(r.resumed)
	case "STOP":
		notify(r.stopped)
	case "VSERPORT_CHANGE": // there is one port
		var data struct{ Open bool }
		json.Unmarshal(e.Data, &data)
		if data.Open {
			notify(r.opened)
		}
	case "SHUTDOWN":
		var data struct {
			Guest  bool
			Reason string
		}
		json.Unmarshal(e.Data, &data)
		if data.Guest { // else the process ends, which says more
			r.end(r.guestExit(data.Reason))
		}
	}
}

// notify leaves word in a channel, unless there is some already.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watch looks after the run until its process is gone or the daemon lets go of it.
func (r *run) watch() {
	defer close(r.watched)
	trimming := time.NewTicker(trimInterval)
	defer trimming.Stop()
	lost := r.qmp.Done()
	var retry, settled <-chan time.Time
	for {
		select {
		case <-r.proc.gone:
			r.end(r.crash())
			return
		case <-r.attached.Done():
			return
		case <-lost:
			lost = nil
			r.log.Debug("the connection to QEMU ended", "why", r.qmp.Err())
		case <-r.stopped:
			stalled, err := r.inspect(context.Background())
			if err != nil && r.alive() == nil && r.qmp.Err() == nil {
				r.log.Warn("ask why the guest stopped", "err", err)
			}
			if stalled {
				if what := r.whatFor(); r.waits.set(what) {
					r.log.Warn(what, "disk", r.machine.Disk)
				}
				retry, settled = time.After(retryInterval), nil
			}
		case <-settled:
			settled = nil
			r.waits.set("")
			r.log.Info("the guest has written to its disk what it could not before")
		case <-retry:
			tried, err := r.unstall(context.Background())
			if err != nil {
				r.log.Warn("let the guest try its disk again", "err", err)
			}
			if tried {
				retry, settled = nil, time.After(settleTime)
			} else {
				retry = time.After(retryInterval)
			}
		case <-trimming.C:
			r.trimLogs()
		}
	}
}

// inspect finds out what a guest that does not execute is doing. One that was
// only left paused goes on. stalled says that its disk could not be written.
func (r *run) inspect(ctx context.Context) (stalled bool, err error) {
	r.guest.Lock()
	defer r.guest.Unlock()
	if r.paused || r.alive() != nil {
		return false, nil
	}
	var state struct{ Status string }
	if err := r.do(ctx, "query-status", nil, &state); err != nil {
		return false, err
	}
	switch state.Status {
	case "running":
		return false, nil
	case "io-error":
		return true, nil
	case "shutdown":
		r.end(r.guestExit(r.dir.missedExit())) // unless the event was not missed
		return false, nil
	case "internal-error":
		r.end(coppice.Exit{Kind: coppice.ExitCrash, Detail: "QEMU could not go on executing the guest"})
		return false, nil
	}
	r.log.Info("the guest was left paused", "status", state.Status)
	return false, r.goOn(ctx)
}

// unstall lets a guest try again what it could not write. Nothing was lost: if
// it fails once more, the guest stops once more. tried says whether the guest
// executes again.
func (r *run) unstall(ctx context.Context) (tried bool, err error) {
	r.guest.Lock()
	defer r.guest.Unlock()
	if r.paused {
		return false, nil // Resume makes it try
	}
	err = r.goOn(ctx)
	return err == nil, err
}

func (r *run) trimLogs() {
	for log, keep := range map[string]int64{r.dir.console(): consoleBytes, r.dir.qemuLog(): qemuLogBytes} {
		if err := trim(log, keep); err != nil {
			r.log.Warn("trim a log", "err", err)
		}
	}
}

// Wait implements [coppice.Run].
func (r *run) Wait(ctx context.Context) (coppice.Exit, error) {
	select {
	case <-r.ended:
		return r.exit, nil
	case <-ctx.Done():
		return coppice.Exit{}, context.Cause(ctx)
	}
}

// end says how the run ended. The first to say so is right.
func (r *run) end(exit coppice.Exit) {
	r.ending.Do(func() {
		r.exit = exit
		close(r.ended)
	})
}

// alive returns an error if the run has ended.
func (r *run) alive() error {
	select {
	case <-r.ended:
		return fmt.Errorf("%w: %s", coppice.ErrNoRun, r.exit.Detail)
	default:
		return nil
	}
}

// gone is where a process has been killed, and what it had is still there.
var gone = failpoint.New("qemu/kill/gone")

// Kill implements [coppice.Run]. QEMU is not asked: it holds back nothing that
// the guest was told is on the disk.
func (r *run) Kill(ctx context.Context) error {
	r.killing.Lock()
	defer r.killing.Unlock()
	if r.killed {
		return nil
	}
	r.end(coppice.Exit{Kind: coppice.ExitKilled, Detail: "the VM was killed"})
	if err := r.proc.kill(ctx); err != nil {
		return fmt.Errorf("kill %s: %w", r.machine.VM, err)
	}
	r.proc.ending() // or it stays a zombie
	r.detach()
	r.killed = true
	gone.Done(ctx)
	return r.hypervisor.forget(r)
}

// detach lets go of the process, whatever it is doing. A capture in progress
// fails, and has let go of it too when detach returns. Again it does nothing.
func (r *run) detach() {
	r.leave()
	r.quiesce()
	r.qmp.Close() // which ends a command that watch may be waiting for
	<-r.watched
	r.proc.release()
}

// quiesce waits for those who have paused the guest.
func (r *run) quiesce() {
	r.guest.Lock()
	defer r.guest.Unlock()
}

// DialAgent implements [coppice.Run]. A second connection is silent until the
// first is closed.
func (r *run) DialAgent(ctx context.Context) (net.Conn, error) {
	if err := r.alive(); err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", r.dir.agent())
}

// Resume implements [coppice.Run].
func (r *run) Resume(ctx context.Context) error {
	r.guest.Lock()
	defer r.guest.Unlock()
	if err := r.goOn(ctx); err != nil {
		return fmt.Errorf("resume %s: %w", r.machine.VM, err)
	}
	return nil
}
