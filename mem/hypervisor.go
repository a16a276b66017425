package mem

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/coppice-vm/coppice"
)

// A Hypervisor is a [coppice.Hypervisor] whose machines compute nothing. Their
// guests answer the requests of package examguest; a guest's memory is the
// value it keeps.
type Hypervisor struct{ host *host }

// A host is what outlives a daemon.
type host struct {
	files Files

	mu        sync.Mutex
	processes map[coppice.VMID]*process
	consoles  map[coppice.VMID][]byte
}

// Files are what machines read and write: a [Pool]'s, or others of which as
// much is read as was written.
type Files interface {
	// WriteFile gives a file that content, and a size that is as large at least.
	WriteFile(name string, content []byte) error
	// ReadFile returns what was written to a file, and its size.
	ReadFile(name string) (start []byte, size int64, err error)
}

// NewHypervisor returns a hypervisor for machines that have those files.
func NewHypervisor(files Files) *Hypervisor {
	return &Hypervisor{&host{
		files:     files,
		processes: map[coppice.VMID]*process{},
		consoles:  map[coppice.VMID][]byte{},
	}}
}

// Reopen returns another hypervisor of the same machines, as a daemon that
// starts makes one.
func (h *Hypervisor) Reopen() *Hypervisor { return &Hypervisor{h.host} }

// Start implements [coppice.Hypervisor].
func (h *Hypervisor) Start(ctx context.Context, m coppice.Machine) (coppice.Run, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	memory, err := h.host.load(m)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", m.VM, err)
	}
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	if err := h.host.vacate(m.VM); err != nil {
		return nil, fmt.Errorf("start %s: %w", m.VM, err)
	}
	if m.Boot != nil {
		h.host.print(m.VM, fmt.Sprintf("booting %s", m.Instance))
	}
	p := newProcess(h.host, m, memory)
	h.host.processes[m.VM] = p
	return &run{h, p}, nil
}

// vacate ends what was prepared for a VM, and returns an error if the VM has
// another process. The caller holds h.mu.
func (h *host) vacate(id coppice.VMID) error {
	p := h.processes[id]
	switch {
	case p == nil:
		return nil
	case p.prepared:
		p.kill()
		return nil
	}
	return fmt.Errorf("a process of the VM %w", coppice.ErrExists)
}

// Prepare implements [coppice.Hypervisor]. What is prepared is of no use here.
func (h *Hypervisor) Prepare(ctx context.Context, m coppice.Machine) error {
	for _, name := range []string{m.Disk, m.Memory} {
		if _, _, err := h.host.files.ReadFile(name); err != nil {
			return fmt.Errorf("prepare %s: %w", m.VM, err)
		}
	}
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	if h.host.processes[m.VM] != nil {
		return fmt.Errorf("prepare %s: a process of the VM %w", m.VM, coppice.ErrExists)
	}
	p := newProcess(h.host, m, nil)
	p.prepared = true
	h.host.processes[m.VM] = p
	return nil
}

// load reads what a machine is made of, and returns its memory.
func (h *host) load(m coppice.Machine) ([]byte, error) {
	if (m.Boot == nil) == (m.State == "") {
		return nil, fmt.Errorf("a machine either boots or continues a capture")
	}
	if m.Boot == nil {
		if _, _, err := h.files.ReadFile(m.State); err != nil {
			return nil, err
		}
	}
	if _, _, err := h.files.ReadFile(m.Disk); err != nil {
		return nil, err
	}
	memory, _, err := h.files.ReadFile(m.Memory)
	return memory, err
}

// Attach implements [coppice.Hypervisor].
func (h *Hypervisor) Attach(ctx context.Context, id coppice.VMID) (coppice.Run, error) {
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	p := h.host.processes[id]
	if p != nil && p.prepared {
		p.kill()
		p = nil
	}
	if p == nil {
		return nil, fmt.Errorf("attach to %s: %w", id, coppice.ErrNoRun)
	}
	if p.pausedBy != h {
		p.goOn()
	}
	return &run{h, p}, nil
}

// Discard implements [coppice.Hypervisor].
func (h *Hypervisor) Discard(ctx context.Context, id coppice.VMID) error {
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	if p := h.host.processes[id]; p != nil {
		p.kill()
	}
	return nil
}

// Runs implements [coppice.Hypervisor].
func (h *Hypervisor) Runs(ctx context.Context) ([]coppice.VMID, error) {
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	return slices.Sorted(maps.Keys(h.host.processes)), nil
}

// Console implements [coppice.Consoles].
func (h *Hypervisor) Console(ctx context.Context, id coppice.VMID) ([]byte, error) {
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	return slices.Clone(h.host.consoles[id]), nil
}

// RemoveConsole implements [coppice.Consoles].
func (h *Hypervisor) RemoveConsole(ctx context.Context, id coppice.VMID) error {
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	delete(h.host.consoles, id)
	return nil
}

// print adds a line to a console. The caller holds h.mu.
func (h *host) print(id coppice.VMID, line string) {
	h.consoles[id] = append(h.consoles[id], line+"\n"...)
}

// End makes the guest of a VM's run end as exit says. A crash takes the process
// along. It does nothing if there is no run.
func (h *Hypervisor) End(id coppice.VMID, exit coppice.Exit) {
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	if p := h.host.processes[id]; p != nil {
		p.end(exit)
	}
}

// Poke makes the memory of a VM's run hold content.
func (h *Hypervisor) Poke(id coppice.VMID, content []byte) {
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	h.host.processes[id].memory = slices.Clone(content)
}

// Peek returns what the memory of a VM's run holds; nil if there is no run.
func (h *Hypervisor) Peek(id coppice.VMID) []byte {
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	if p := h.host.processes[id]; p != nil {
		return slices.Clone(p.memory)
	}
	return nil
}

// Starve has the guest of a VM wait for something, in a sentence, until it is
// starved of nothing.
func (h *Hypervisor) Starve(id coppice.VMID, what string) {
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	p := h.host.processes[id]
	if p == nil || p.waits == what {
		return
	}
	p.waits = what
	close(p.news)
	p.news = make(chan struct{})
	p.changed.Broadcast()
}
