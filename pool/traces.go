package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

// At returns the pool in dir to one who only looks at it: it is not opened, and
// may be somebody else's meanwhile.
func At(dir string) *Pool { return &Pool{root: dir} }

// errNotMounted is what is wrong with a pool whose files are out of sight.
var errNotMounted = errors.New("its image is not mounted; the daemon does that when it starts")

// Traces implements [coppice.Inspector].
func (p *Pool) Traces(ctx context.Context) ([]coppice.Trace, error) {
	traces, err := p.traces()
	return traces, failure("look at what is there", err)
}

func (p *Pool) traces() ([]coppice.Trace, error) {
	traces, err := p.imageTraces()
	if err != nil {
		return nil, err
	}
	for _, place := range []struct {
		dir  string
		list func(name string) []coppice.Trace
	}{
		{"", p.rootTraces},
		{vmsDir, p.vmTraces},
		{capturesDir, p.captureTraces},
		{imagesDir, p.installedTraces},
		{tmpDir, p.unfinishedTraces},
	} {
		entries, err := os.ReadDir(p.path(place.dir))
		if err := ignoreMissing(err); err != nil {
			return nil, err
		}
		for _, entry := range entries {
			traces = append(traces, place.list(entry.Name())...)
		}
	}
	return traces, nil
}

// imageTraces lists what there is too much around the image that the pool is in,
// if it is in one.
func (p *Pool) imageTraces() ([]coppice.Trace, error) {
	image := imageOf(p.root)
	var traces []coppice.Trace
	if half := image + ".new"; exists(half) {
		traces = append(traces, coppice.Trace{Kind: coppice.TraceUnfinished, Name: half, Disposable: true})
	}
	if !exists(image) {
		return traces, nil
	}
	mounted, err := loopUnder(p.root)
	if err != nil {
		return nil, err
	}
	if ours, err := isBackedBy(mounted, image); err != nil || !ours {
		return nil, errors.Join(err, errNotMounted)
	}
	devices, err := devicesOf(image)
	for _, dev := range devices {
		if dev != mounted {
			traces = append(traces, coppice.Trace{Kind: coppice.TraceStray, Name: filepath.Join("/dev", dev), Disposable: true})
		}
	}
	return traces, err
}

func (p *Pool) rootTraces(name string) []coppice.Trace {
	if slices.Contains([]string{imagesDir, vmsDir, capturesDir, tmpDir}, name) {
		return nil
	}
	return []coppice.Trace{{Kind: coppice.TraceStray, Name: p.path(name)}}
}

func (p *Pool) vmTraces(name string) []coppice.Trace {
	id := coppice.VMID(name)
	if !id.Valid() {
		return []coppice.Trace{{Kind: coppice.TraceStray, Name: p.path(vmsDir, name)}}
	}
	return p.files(coppice.Trace{VM: id}, p.vmDir(id), map[string]coppice.TraceKind{
		diskFile: coppice.TraceDisk, memoryFile: coppice.TraceMemory,
	})
}

func (p *Pool) captureTraces(name string) []coppice.Trace {
	id := coppice.CaptureID(name)
	if !id.Valid() {
		return []coppice.Trace{{Kind: coppice.TraceStray, Name: p.path(capturesDir, name)}}
	}
	return p.files(coppice.Trace{Capture: id}, p.captureDir(id), map[string]coppice.TraceKind{
		diskFile: coppice.TraceDisk, memoryFile: coppice.TraceMemory, stateFile: coppice.TraceState,
	})
}

// files lists the files of a directory as its owner's.
func (p *Pool) files(owner coppice.Trace, dir string, kinds map[string]coppice.TraceKind) (traces []coppice.Trace) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // it is being removed
	}
	if owner.Kind, owner.Name = coppice.TraceStray, dir; len(entries) == 0 {
		return []coppice.Trace{owner}
	}
	for _, entry := range entries {
		t := owner
		t.Name = filepath.Join(dir, entry.Name())
		if kind, ok := kinds[entry.Name()]; ok {
			t.Kind = kind
		}
		traces = append(traces, t)
	}
	return traces
}

func (p *Pool) installedTraces(name string) []coppice.Trace {
	return []coppice.Trace{{Kind: coppice.TraceImage, Name: p.path(imagesDir, name), Image: coppice.ImageID(name), Disposable: true}}
}

// unfinishedTraces lists what has a temporary name, as that of whom it is made
// for or was taken from.
func (p *Pool) unfinishedTraces(name string) []coppice.Trace {
	t := coppice.Trace{Kind: coppice.TraceUnfinished, Name: p.path(tmpDir, name), Disposable: true}
	owner, _, _ := strings.Cut(name, ".")
	if id := coppice.VMID(owner); id.Valid() {
		t.VM = id
	}
	if id := coppice.CaptureID(owner); id.Valid() {
		t.Capture = id
	}
	return []coppice.Trace{t}
}

// Erase implements [coppice.Eraser].
func (p *Pool) Erase(ctx context.Context, t coppice.Trace) error {
	return failure("erase "+t.Name, p.erase(ctx, t))
}

func (p *Pool) erase(ctx context.Context, t coppice.Trace) error {
	switch {
	case !t.Disposable:
	case t.Kind == coppice.TraceImage && filepath.Dir(t.Name) == p.path(imagesDir):
		return p.remove(ctx, t.Name)
	case t.Kind == coppice.TraceUnfinished && (filepath.Dir(t.Name) == p.path(tmpDir) || t.Name == imageOf(p.root)+".new"):
		return os.RemoveAll(t.Name)
	case t.Kind == coppice.TraceStray && filepath.Dir(t.Name) == "/dev":
		dev := filepath.Base(t.Name)
		if ours, err := isBackedBy(dev, imageOf(p.root)); err != nil || !ours {
			return err
		}
		return freeLoop(dev)
	}
	return fmt.Errorf("that is nothing the pool may remove")
}

// exists reports whether there is a file of that name.
func exists(name string) bool { return unix.Access(name, unix.F_OK) == nil }
