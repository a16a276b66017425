package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/internal/failpoint"
	"github.com/coppice-vm/coppice/qemu/cgroup"
	"github.com/coppice-vm/coppice/qemu/qmp"
)

// Start implements [coppice.Hypervisor].
func (h *Hypervisor) Start(ctx context.Context, m coppice.Machine) (coppice.Run, error) {
	if (m.Boot == nil) == (m.State == "") {
		return nil, errors.New("start: a machine either boots or continues a capture")
	}
	dir, err := h.dir(m.VM)
	if err != nil {
		return nil, err
	}
	if r, err := h.claim(m.VM); err != nil {
		return nil, fmt.Errorf("start %s: %w", m.VM, err)
	} else if r != nil {
		return nil, fmt.Errorf("start %s: a process of the VM %w", m.VM, coppice.ErrExists)
	}
	r, err := h.start(ctx, m, dir)
	h.settle(m.VM, r)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", m.VM, err)
	}
	return r, nil
}

// start begins a run in dir, or leaves nothing of it.
func (h *Hypervisor) start(ctx context.Context, m coppice.Machine, dir runDir) (*run, error) {
	if r, err := h.startPrepared(ctx, m, dir); r != nil || err != nil {
		return r, err
	}
	if err := checkMemory(m); err != nil {
		return nil, err
	}
	if err := h.vacant(dir); err != nil {
		return nil, err
	}
	if err := dir.beginConsole(m); err != nil {
		return nil, err
	}
	proc, err := h.launch(ctx, m, dir)
	if err != nil {
		return nil, errors.Join(err, h.clear(dir))
	}
	return h.enliven(ctx, m, dir, proc, func(ctx context.Context, r *run) error {
		if m.Boot != nil {
			return r.begin(ctx)
		}
		p := &husk{machine: m, proc: proc}
		if err := p.survey(); err != nil {
			return err
		}
		return p.begin(ctx, r)
	})
}

// Points on the way to a run.
var (
	recorded  = failpoint.New("qemu/launch/recorded")
	grouped   = failpoint.New("qemu/launch/grouped")
	connected = failpoint.New("qemu/start/connected")
	amended   = failpoint.New("qemu/fill/amended")
	mapped    = failpoint.New("qemu/fill/mapped")
	loaded    = failpoint.New("qemu/fill/loaded")
)

// enliven makes a run of a process that begin lets go, or ends the process and
// leaves nothing of it.
func (h *Hypervisor) enliven(ctx context.Context, m coppice.Machine, dir runDir, proc *process, begin func(context.Context, *run) error) (*run, error) {
	r, err := h.connect(ctx, m, dir, proc)
	if err != nil {
		err = explain(ctx, err, dir, proc)
		proc.release()
		return nil, errors.Join(err, h.clear(dir))
	}
	err = connected.Hit(ctx)
	if err == nil {
		err = begin(ctx, r)
	}
	if err != nil {
		err = explain(ctx, err, dir, proc)
		r.detach()
		return nil, errors.Join(err, h.clear(dir))
	}
	return r, nil
}

// vacant makes a run directory if there is none, and returns an error if it has
// a process from before.
func (h *Hypervisor) vacant(dir runDir) error {
	if err := os.MkdirAll(string(dir), 0o700); err != nil {
		return err
	}
	// The record is written before a process is started.
	if _, err := os.Lstat(dir.record()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	found, err := h.processes()
	if pids := found[dir.name()]; err == nil && len(pids) > 0 {
		err = fmt.Errorf("process %d of the VM %w", pids[0], coppice.ErrExists)
	}
	return err
}

// checkMemory reports whether the memory file is one: a guest with less would be
// ended by what it lacks.
func checkMemory(m coppice.Machine) error {
	info, err := os.Stat(m.Memory)
	if err != nil {
		return err
	}
	if want := m.Size.MemoryMiB << 20; info.Size() != want {
		return fmt.Errorf("the memory file %s has %d bytes, the VM's memory has %d", m.Memory, info.Size(), want)
	}
	return nil
}

// launch starts the process, paused, once the record says of which machine: one
// that does not boot continues nothing yet.
func (h *Hypervisor) launch(ctx context.Context, m coppice.Machine, dir runDir) (*process, error) {
	binary, err := exec.LookPath(h.binary)
	if err == nil {
		binary, err = filepath.EvalSymlinks(binary) // what it leads to is not in the jail
	}
	if err != nil {
		return nil, err
	}
	r := record{Machine: m, Groups: h.groups(m.VM)}
	if m.Boot == nil {
		r.Instance, r.State = "", ""
	}
	if err := errors.Join(h.clear(dir), dir.writeRecord(r)); err != nil {
		return nil, err
	}
	if err := recorded.Hit(ctx); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(dir.qemuLog(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()

	// Sockets that listen before QEMU is there need no waiting for it, and a
	// connection to them breaks when it fails.
	var files []*os.File // from qmpFD on
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, path := range []string{dir.qmp(), dir.agent()} {
		f, err := listen(path)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	networked, err := h.networked(m)
	if err != nil {
		return nil, err
	}
	if networked {
		f, err := h.tap(m.VM)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	j, err := h.jail(m, dir, binary)
	if err != nil {
		return nil, err
	}
	if err := cgroup.Make(r.Groups, h.limits(m)); err != nil {
		h.log.Warn("the VM runs without limits of what it takes of the host", "vm", m.VM, "because", err)
	} else {
		j.Groups = r.Groups
	}
	if err := grouped.Hit(ctx); err != nil {
		return nil, err
	}
	args := arguments(m, h.accel, dir.console(), networked)
	return spawn(j, binary, append([]string{nameTag + string(dir)}, args...), log, files...)
}

// networked reports whether a machine is to have a network card. One that was
// captured without goes on without, until it boots.
func (h *Hypervisor) networked(m coppice.Machine) (bool, error) {
	if h.tap == nil || m.State == "" {
		return h.tap != nil, nil
	}
	if info, err := os.Stat(m.State); err != nil || !info.Mode().IsRegular() {
		return true, err // QEMU will say what it is
	}
	state, err := os.ReadFile(m.State)
	return bytes.Contains(state, []byte("virtio-net")), err
}

// listen returns a unix socket that listens at path.
func listen(path string) (*os.File, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	return l.File()
}

// explain ends the process of a run that failed because of err, and returns
// err with what QEMU had to say.
func explain(ctx context.Context, err error, dir runDir, proc *process) error {
	var refused *qmp.Error
	forbidden := errors.Is(err, os.ErrPermission) // to look into the process, which goes on
	lost := ctx.Err() == nil && !errors.As(err, &refused) && !forbidden
	// The caller's time may be over, but a killed process is gone in a moment.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	if lost {
		// QEMU is on its way out by itself: how is worth knowing.
		select {
		case <-proc.gone:
			err = fmt.Errorf("QEMU %s", proc.ending())
		case <-time.After(time.Second):
		}
	}
	if kill := proc.kill(ctx); kill != nil {
		return errors.Join(err, kill)
	}
	proc.ending()
	if said := dir.complaint(); said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}
