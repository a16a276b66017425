// Package qemu turns a VM into a QEMU process and back: it starts, captures
// and restores guests, and finds those that an earlier daemon started.
//
// A run is one stock QEMU in a session of its own, which nothing ties to the
// daemon. All the daemon needs to take it over again lies in its run directory,
// RunDir/ID:
//
//	user         the user that the VM has for as long as it exists
//	run.json     the machine, written before the process is started
//	qmp.sock     where QEMU takes commands, from one client at a time
//	agent.sock   the host's end of the guest's agent port
//	qemu.log     what QEMU itself says
//	console.log  what the guest's serial console printed, over all runs
//
// The process itself is found by its user and by the console in its jail: no record
// of a process id can be lost or come to mean another. Its first argument names the
// run directory, too, for whoever looks at a list of processes.
package qemu

import (
	"cmp"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/qemu/cgroup"
)

// An Accel is a way to execute a guest.
type Accel string

const (
	KVM Accel = "kvm" // on the processor itself
	TCG Accel = "tcg" // by translation
)

// commandTimeout is how long QEMU may take to answer a command. The slowest,
// saving the devices and stopping a guest that writes, take a fraction of a second.
const commandTimeout = 20 * time.Second

const defaultBinary = "qemu-system-x86_64"

// Config says how VMs are run.
type Config struct {
	// Binary of QEMU; empty is "qemu-system-x86_64", looked up in PATH.
	Binary string
	// RunDir is the directory of the run directories. It is made if need be.
	RunDir string
	// Accel runs new VMs; [Probe] finds out which works. Empty is TCG.
	Accel Accel
	// Tap opens the host's end of a VM's network card, for one process; nil if
	// machines are to have none.
	Tap func(coppice.VMID) (*os.File, error)
	// Users are those that VMs run as; zero is [DefaultUsers].
	Users Users
	// IOBytes are how many a VM may read, and write, of the disk in a second
	// where the host can limit that; 0 is no limit.
	IOBytes int64
	Log     *slog.Logger
}

// A Hypervisor is a [coppice.Hypervisor] that runs VMs in QEMU.
type Hypervisor struct {
	binary string
	runDir string
	accel  Accel
	tap    func(coppice.VMID) (*os.File, error)
	users  users
	log    *slog.Logger

	cgroups func() (*cgroup.Host, error)
	ioBytes int64

	mu    sync.Mutex
	runs  map[coppice.VMID]*run // nil while the VM's run is being started or attached
	husks map[coppice.VMID]*husk
}

// New returns a hypervisor. It neither starts nor looks for anything yet.
func New(cfg Config) *Hypervisor {
	dir := filepath.Clean(cfg.RunDir)
	return &Hypervisor{
		binary:  cmp.Or(cfg.Binary, defaultBinary),
		runDir:  dir,
		accel:   cmp.Or(cfg.Accel, TCG),
		tap:     cfg.Tap,
		users:   users{Users: cmp.Or(cfg.Users, DefaultUsers), runDir: dir},
		cgroups: sync.OnceValues(func() (*cgroup.Host, error) { return cgroup.Find(os.Getpid()) }),
		ioBytes: cfg.IOBytes,
		log:     cfg.Log,
		runs:    map[coppice.VMID]*run{},
		husks:   map[coppice.VMID]*husk{},
	}
}

// Close lets go of every run: the VMs go on, and another hypervisor of the same
// directory can attach to them. What was prepared it can only discard. Of the runs handed out so far Wait returns only
// by its ctx, and the other methods fail.
func (h *Hypervisor) Close() {
	h.mu.Lock()
	runs, husks := h.runs, h.husks
	h.runs, h.husks = map[coppice.VMID]*run{}, map[coppice.VMID]*husk{}
	h.mu.Unlock()
	for _, p := range husks {
		p.proc.release()
	}
	for _, r := range runs {
		if r != nil {
			r.detach()
		}
	}
}

// errBusy means that a run of the VM is being started or attached this moment.
var errBusy = errors.New("a run of the VM is being started")

// claim reserves the VM for one who is about to start or attach a run of it,
// who calls settle at the end. If there is a run with a process already, that
// is returned instead.
func (h *Hypervisor) claim(id coppice.VMID) (*run, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.runs[id]
	if ok && r == nil {
		return nil, errBusy
	}
	if ok && !r.proc.isGone() {
		return r, nil
	}
	h.runs[id] = nil
	return nil, nil
}

// settle ends a claim with the run that came of it, or nil.
func (h *Hypervisor) settle(id coppice.VMID, r *run) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r == nil {
		delete(h.runs, id)
	} else {
		h.runs[id] = r
	}
}

// forget drops a run whose process is gone, with what was left of it on disk,
// unless another run has taken its place.
func (h *Hypervisor) forget(r *run) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.runs[r.machine.VM] != r {
		return nil
	}
	delete(h.runs, r.machine.VM)
	return h.clear(r.dir)
}
