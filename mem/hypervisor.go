package mem

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/coppice-vm/coppice"
)

// A Hypervisor is a [coppice.Hypervisor] whose machines compute nothing. What
// their memory holds is whatever Poke put there since they booted.
type Hypervisor struct {
	files *Pool

	mu       sync.Mutex
	runs     map[coppice.VMID]*run
	consoles map[coppice.VMID][]byte
}

// NewHypervisor returns a hypervisor for machines whose files are in pool.
func NewHypervisor(pool *Pool) *Hypervisor {
	return &Hypervisor{files: pool, runs: map[coppice.VMID]*run{}, consoles: map[coppice.VMID][]byte{}}
}

// A run is a machine from Start to Kill.
type run struct {
	h       *Hypervisor
	machine coppice.Machine
	ended   chan struct{} // closed when exit is set

	// guarded by h.mu
	exit   *coppice.Exit
	memory []byte
}

// Start implements [coppice.Hypervisor].
func (h *Hypervisor) Start(ctx context.Context, m coppice.Machine) (coppice.Run, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, _, err := h.files.ReadFile(m.Disk); err != nil {
		return nil, err
	}
	memory, _, err := h.files.ReadFile(m.Memory)
	if err != nil {
		return nil, err
	}
	if m.Boot == nil {
		if _, _, err := h.files.ReadFile(m.State); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.runs[m.VM] != nil {
		return nil, fmt.Errorf("VM %s runs already: %w", m.VM, coppice.ErrExists)
	}
	r := &run{h: h, machine: m, ended: make(chan struct{}), memory: memory}
	h.runs[m.VM] = r
	if m.Boot != nil {
		h.consoles[m.VM] = fmt.Appendf(h.consoles[m.VM], "booting %s\n", m.Instance)
	}
	return r, nil
}

// Attach implements [coppice.Hypervisor].
func (h *Hypervisor) Attach(ctx context.Context, id coppice.VMID) (coppice.Run, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.runs[id]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("VM %s: %w", id, coppice.ErrNoRun)
}

// Discard implements [coppice.Hypervisor].
func (h *Hypervisor) Discard(ctx context.Context, id coppice.VMID) error {
	if r, err := h.Attach(ctx, id); err == nil {
		return r.Kill(ctx)
	}
	return nil
}

// Runs implements [coppice.Hypervisor].
func (h *Hypervisor) Runs(ctx context.Context) ([]coppice.VMID, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.runs)), nil
}

// Console implements [coppice.Consoles].
func (h *Hypervisor) Console(ctx context.Context, id coppice.VMID) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.consoles[id]), nil
}

// RemoveConsole implements [coppice.Consoles].
func (h *Hypervisor) RemoveConsole(ctx context.Context, id coppice.VMID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.consoles, id)
	return nil
}

// End makes the guest of a VM's run end as exit says. A crash takes the process
// along. It does nothing if there is no run.
func (h *Hypervisor) End(id coppice.VMID, exit coppice.Exit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.runs[id]; r != nil {
		r.end(exit)
		if exit.Kind == coppice.ExitCrash {
			delete(h.runs, id)
		}
	}
}

// Poke makes the memory of a VM's run hold content.
func (h *Hypervisor) Poke(id coppice.VMID, content []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runs[id].memory = slices.Clone(content)
}

// Peek returns what the memory of a VM's run holds; nil if there is no run.
func (h *Hypervisor) Peek(id coppice.VMID) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.runs[id]; r != nil {
		return slices.Clone(r.memory)
	}
	return nil
}

// end ends the guest, unless it has ended. The caller holds h.mu.
func (r *run) end(exit coppice.Exit) {
	if r.exit == nil {
		r.exit = &exit
		close(r.ended)
	}
}

// Wait implements [coppice.Run].
func (r *run) Wait(ctx context.Context) (coppice.Exit, error) {
	select {
	case <-r.ended:
		return *r.exit, nil
	case <-ctx.Done():
		return coppice.Exit{}, ctx.Err()
	}
}

// Capture implements [coppice.Run].
func (r *run) Capture(ctx context.Context, dst coppice.CaptureFiles, leave coppice.Leave) (coppice.CaptureStats, error) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if r.exit != nil {
		return coppice.CaptureStats{}, fmt.Errorf("VM %s: %w", r.machine.VM, coppice.ErrNoRun)
	}
	disk, _, err := r.h.files.ReadFile(r.machine.Disk)
	if err != nil {
		return coppice.CaptureStats{}, err
	}
	for name, content := range map[string][]byte{dst.Disk: disk, dst.Memory: r.memory, dst.State: []byte("devices")} {
		if err := r.h.files.WriteFile(name, content); err != nil {
			return coppice.CaptureStats{}, err
		}
	}
	return coppice.CaptureStats{}, nil
}

// Resume implements [coppice.Run].
func (r *run) Resume(ctx context.Context) error { return nil }

// Kill implements [coppice.Run].
func (r *run) Kill(ctx context.Context) error {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	r.end(coppice.Exit{Kind: coppice.ExitKilled})
	if r.h.runs[r.machine.VM] == r {
		delete(r.h.runs, r.machine.VM)
	}
	return nil
}

// DialAgent implements [coppice.Run]. Nobody listens at the other end.
func (r *run) DialAgent(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	context.AfterFunc(ctx, func() { far.Close() })
	return near, nil
}
