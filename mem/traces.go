package mem

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/coppice-vm/coppice"
)

// Traces implements [coppice.Inspector].
func (p *Pool) Traces(ctx context.Context) ([]coppice.Trace, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var traces []coppice.Trace
	for id := range p.images {
		traces = append(traces, coppice.Trace{Kind: coppice.TraceImage, Name: "images/" + string(id), Image: id, Disposable: true})
	}
	kinds := map[string]coppice.TraceKind{"disk.raw": coppice.TraceDisk, "memory": coppice.TraceMemory, "state": coppice.TraceState}
	for dir, in := range p.dirs {
		place, id := path.Split(dir)
		var t coppice.Trace
		if strings.HasPrefix(id, "sc-") {
			t.Capture = coppice.CaptureID(id)
		} else {
			t.VM = coppice.VMID(id)
		}
		switch place {
		case "vms/", "captures/":
			for name := range in {
				t.Kind, t.Name = kinds[name], path.Join(dir, name)
				traces = append(traces, t)
			}
		case "tmp/":
			t.Kind, t.Name, t.Disposable = coppice.TraceUnfinished, dir, true
			traces = append(traces, t)
		}
	}
	return traces, nil
}

// Erase implements [coppice.Eraser].
func (p *Pool) Erase(ctx context.Context, t coppice.Trace) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !t.Disposable:
		return fmt.Errorf("erase %s: that is nothing the pool may remove", t.Name)
	case t.Kind == coppice.TraceImage:
		delete(p.images, t.Image)
	}
	delete(p.dirs, t.Name)
	return nil
}

// Traces implements [coppice.Inspector].
func (h *Hypervisor) Traces(ctx context.Context) ([]coppice.Trace, error) {
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	var traces []coppice.Trace
	add := func(kind coppice.TraceKind, id coppice.VMID, name string) {
		traces = append(traces, coppice.Trace{Kind: kind, Name: name + " of " + string(id), VM: id})
	}
	for id := range h.host.processes {
		add(coppice.TraceProcess, id, "process")
		add(coppice.TraceRecord, id, "record")
		add(coppice.TraceSocket, id, "socket for commands")
		add(coppice.TraceSocket, id, "socket for the agent")
	}
	for id := range h.host.consoles {
		add(coppice.TraceLog, id, "console")
	}
	return traces, nil
}

// Traces implements [coppice.Inspector].
func (n *Network) Traces(ctx context.Context) ([]coppice.Trace, error) {
	n.wires.mu.Lock()
	defer n.wires.mu.Unlock()
	var traces []coppice.Trace
	for id, w := range n.wires.networks {
		kinds := []coppice.TraceKind{coppice.TraceNamespace, coppice.TraceTap, coppice.TraceRules}
		if !w.egress.Closed() {
			kinds = append(kinds, coppice.TraceUplink)
		}
		for _, kind := range kinds {
			traces = append(traces, coppice.Trace{Kind: kind, Name: fmt.Sprintf("%s of %s", kind, id), VM: id})
		}
	}
	if n.wires.uplinked {
		traces = append(traces, coppice.Trace{Kind: coppice.TraceRules, Name: "rules of the host"})
	}
	return traces, nil
}

// Erase implements [coppice.Eraser]. There is nothing here that nobody has.
func (n *Network) Erase(ctx context.Context, t coppice.Trace) error {
	return fmt.Errorf("erase %s: that is nothing the network may remove", t.Name)
}
