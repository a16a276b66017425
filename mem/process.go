package mem

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/examguest"
)

// A process is a machine from its start to its end, whichever daemons come and go.
type process struct {
	host     *host
	machine  coppice.Machine
	began    time.Time
	prepared bool            // and nothing more: it waits for a start
	ended    chan struct{}   // closed when exit is set
	gone     context.Context // ends when the process is gone
	vanish   context.CancelFunc
	changed  sync.Cond // pausedBy, waits or exit changed

	// guarded by host.mu
	memory   []byte
	exit     coppice.Exit
	over     bool          // exit is set
	pausedBy *Hypervisor   // nil while the guest executes
	waits    string        // for what
	news     chan struct{} // closed when waits has changed
}

func newProcess(h *host, m coppice.Machine, memory []byte) *process {
	p := &process{
		host: h, machine: m, began: time.Now(), memory: memory,
		ended: make(chan struct{}), news: make(chan struct{}),
	}
	p.gone, p.vanish = context.WithCancel(context.Background())
	p.changed.L = &h.mu
	return p
}

// end ends the guest, unless it has ended. A crash takes the process along.
// The caller holds host.mu, here and below.
func (p *process) end(exit coppice.Exit) {
	if !p.over {
		p.exit, p.over = exit, true
		close(p.ended)
		p.changed.Broadcast()
	}
	if exit.Kind == coppice.ExitCrash {
		p.disappear()
	}
}

func (p *process) kill() {
	p.end(coppice.Exit{Kind: coppice.ExitKilled, Detail: "the VM was killed"})
	p.disappear()
}

func (p *process) disappear() {
	p.vanish()
	if p.host.processes[p.machine.VM] == p {
		delete(p.host.processes, p.machine.VM)
	}
}

func (p *process) goOn() {
	p.pausedBy = nil
	p.changed.Broadcast()
}

func (p *process) alive() error {
	if p.over {
		return fmt.Errorf("VM %s: %w: %s", p.machine.VM, coppice.ErrNoRun, p.exit.Detail)
	}
	return nil
}

// A run is a process as one hypervisor sees it.
type run struct {
	h *Hypervisor
	p *process
}

// Wait implements [coppice.Run].
func (r *run) Wait(ctx context.Context) (coppice.Exit, error) {
	select {
	case <-r.p.ended:
	case <-ctx.Done():
		select {
		case <-r.p.ended: // which says more
		default:
			return coppice.Exit{}, context.Cause(ctx)
		}
	}
	return r.p.exit, nil
}

// Waits implements [coppice.Run].
func (r *run) Waits() (what string, changed <-chan struct{}) {
	r.p.host.mu.Lock()
	defer r.p.host.mu.Unlock()
	return r.p.waits, r.p.news
}

// Capture implements [coppice.Run].
func (r *run) Capture(ctx context.Context, dst coppice.CaptureFiles, leave coppice.Leave) (coppice.CaptureStats, error) {
	p := r.p
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	if err := p.alive(); err != nil {
		return coppice.CaptureStats{}, err
	}
	stats := coppice.CaptureStats{Paused: time.Now()}
	disk, _, err := p.host.files.ReadFile(p.machine.Disk)
	if err != nil {
		return coppice.CaptureStats{}, err
	}
	for name, content := range map[string][]byte{dst.Disk: disk, dst.Memory: p.memory, dst.State: []byte("devices")} {
		if err := p.host.files.WriteFile(name, content); err != nil {
			return coppice.CaptureStats{}, err
		}
	}
	if leave == coppice.LeavePaused {
		p.pausedBy = r.h
	}
	return stats, nil
}

// Resume implements [coppice.Run].
func (r *run) Resume(ctx context.Context) error {
	r.p.host.mu.Lock()
	defer r.p.host.mu.Unlock()
	r.p.goOn()
	return r.p.alive()
}

// Kill implements [coppice.Run].
func (r *run) Kill(ctx context.Context) error {
	r.p.host.mu.Lock()
	defer r.p.host.mu.Unlock()
	r.p.kill()
	return nil
}

// DialAgent implements [coppice.Run].
func (r *run) DialAgent(ctx context.Context) (net.Conn, error) {
	r.p.host.mu.Lock()
	defer r.p.host.mu.Unlock()
	if err := r.p.alive(); err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	stop := context.AfterFunc(r.p.gone, func() { far.Close() })
	go func() {
		defer stop()
		defer far.Close()
		examguest.Serve(far, guest{r.p})
	}()
	return near, nil
}

// A guest is what a process executes: an [examguest.Machine].
type guest struct{ p *process }

// run calls f when the guest executes.
func (g guest) run(f func() error) error {
	g.p.host.mu.Lock()
	defer g.p.host.mu.Unlock()
	for (g.p.pausedBy != nil || g.p.waits != "") && !g.p.over {
		g.p.changed.Wait()
	}
	if err := g.p.alive(); err != nil {
		return err
	}
	return f()
}

func (g guest) Keep(value string) error {
	return g.run(func() error { g.p.memory = []byte(value); return nil })
}

func (g guest) Kept() (value string, err error) {
	err = g.run(func() error { value = string(g.p.memory); return nil })
	return value, err
}

func (g guest) Write(value string) error {
	return g.run(func() error { return g.p.host.files.WriteFile(g.p.machine.Disk, []byte(value)) })
}

func (g guest) Read() (value string, err error) {
	err = g.run(func() error {
		content, _, err := g.p.host.files.ReadFile(g.p.machine.Disk)
		value = string(content)
		return err
	})
	return value, err
}

func (g guest) Print(line string) error {
	return g.run(func() error { g.p.host.print(g.p.machine.VM, line); return nil })
}

func (g guest) PowerOff() error {
	return g.exit(coppice.ExitPowerOff, "the guest powered itself off")
}

func (g guest) Reboot() error { return g.exit(coppice.ExitReboot, "the guest asked for a reset") }

func (g guest) Panic() error {
	return g.exit(coppice.ExitPanic, "Kernel panic - not syncing: asked to")
}

func (g guest) exit(kind coppice.ExitKind, detail string) error {
	return g.run(func() error { g.p.end(coppice.Exit{Kind: kind, Detail: detail}); return nil })
}
