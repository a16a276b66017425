package qemu

import (
	"context"
	"os"
	"path/filepath"
	"strconv"

	"github.com/coppice-vm/coppice"
)

// Traces implements [coppice.Inspector].
func (h *Hypervisor) Traces(ctx context.Context) ([]coppice.Trace, error) {
	var traces []coppice.Trace
	processes, err := h.processes()
	if err != nil {
		return nil, err
	}
	for name, pids := range processes {
		t := ownedBy(name)
		t.Kind = coppice.TraceProcess
		for _, pid := range pids {
			t.Name = strconv.Itoa(pid)
			traces = append(traces, t)
		}
	}
	dirs, err := os.ReadDir(h.runDir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	for _, entry := range dirs {
		traces = append(traces, runDir(filepath.Join(h.runDir, entry.Name())).traces()...)
	}
	return traces, nil
}

// ownedBy returns a trace of the VM whose run directory has that name, if it is a VM's.
func ownedBy(name string) (t coppice.Trace) {
	if id := coppice.VMID(name); id.Valid() {
		t.VM = id
	}
	return t
}

// traces lists the files of a run directory.
func (d runDir) traces() (traces []coppice.Trace) {
	t := ownedBy(d.name())
	t.Kind, t.Name = coppice.TraceStray, string(d)
	files, err := os.ReadDir(string(d))
	switch {
	case t.VM == "":
		return []coppice.Trace{t}
	case err != nil:
		return nil // it is being removed
	case len(files) == 0:
		return []coppice.Trace{t}
	}
	for _, file := range files {
		t.Name = filepath.Join(string(d), file.Name())
		switch t.Name {
		case d.draft():
			continue // written over by the next one, and removed with the record
		case d.record():
			traces = append(traces, d.groupTraces()...)
			t.Kind = coppice.TraceRecord
		case d.qmp(), d.agent():
			t.Kind = coppice.TraceSocket
		case d.console(), d.qemuLog():
			t.Kind = coppice.TraceLog
		case d.user():
			t.Kind = coppice.TraceUser
		default:
			t.Kind = coppice.TraceStray
		}
		traces = append(traces, t)
	}
	return traces
}

// groupTraces lists the directories of the control group of a run.
func (d runDir) groupTraces() (traces []coppice.Trace) {
	r, err := d.readRecord()
	if err != nil {
		return nil // it is being removed
	}
	t := ownedBy(d.name())
	t.Kind = coppice.TraceGroup
	for _, t.Name = range r.Groups {
		if _, err := os.Stat(t.Name); err == nil {
			traces = append(traces, t)
		}
	}
	return traces
}
