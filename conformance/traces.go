package conformance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/coppice-vm/coppice"
)

// wantTraces checks which kinds of traces an inspector lists of one owner.
func wantTraces(t *testing.T, i coppice.Inspector, owned func(coppice.Trace) bool, want ...coppice.TraceKind) {
	t.Helper()
	traces, err := i.Traces(t.Context())
	must(t, err)
	var got []coppice.TraceKind
	for _, trace := range traces {
		if owned(trace) {
			got = append(got, trace.Kind)
			if trace.Name == "" {
				t.Errorf("a trace without a name: %+v", trace)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("what is there: %q, want %q", got, want)
	}
}

func ofVM(id coppice.VMID) func(coppice.Trace) bool {
	return func(t coppice.Trace) bool { return t.VM == id }
}

func ofCapture(id coppice.CaptureID) func(coppice.Trace) bool {
	return func(t coppice.Trace) bool { return t.Capture == id }
}

func anybodys(coppice.Trace) bool { return true }

func poolTraces(t *testing.T, p PoolUnderTest) {
	wantTraces(t, p, anybodys, coppice.TraceImage)
	vm, capture := coppice.NewVMID(), coppice.NewCaptureID()
	p.create(t, vm, p.Image.Disk, coppice.Size{DiskMiB: 1, MemoryMiB: 1})
	wantTraces(t, p, ofVM(vm), coppice.TraceDisk, coppice.TraceMemory)
	p.begin(t, capture, "some")
	wantTraces(t, p, ofCapture(capture), coppice.TraceUnfinished)
	_, err := p.CommitCapture(t.Context(), capture)
	must(t, err)
	wantTraces(t, p, ofCapture(capture), coppice.TraceDisk, coppice.TraceMemory, coppice.TraceState)
	must(t, p.TrimCapture(t.Context(), capture))
	wantTraces(t, p, ofCapture(capture), coppice.TraceMemory)
	must(t, p.RemoveVM(t.Context(), vm))
	must(t, p.RemoveCapture(t.Context(), capture))
	wantTraces(t, p, anybodys, coppice.TraceImage)

	p.begin(t, coppice.NewCaptureID(), "some")
	traces, err := p.Traces(t.Context())
	must(t, err)
	for _, trace := range traces {
		must(t, p.Erase(t.Context(), trace))
		must(t, p.Erase(t.Context(), trace))
		trace.Disposable = false
		if p.Erase(t.Context(), trace) == nil {
			t.Errorf("%+v can be erased", trace)
		}
	}
	wantTraces(t, p, anybodys)
	if _, err := p.Pool.Image(t.Context(), p.Image.ID); err == nil {
		t.Error("an image that was erased is there")
	}
}

func hypervisorTraces(t *testing.T, e *hypervisorExam) {
	m, r := e.restore()
	running := []coppice.TraceKind{coppice.TraceProcess, coppice.TraceRecord, coppice.TraceSocket, coppice.TraceSocket}
	others := []coppice.TraceKind{coppice.TraceLog, coppice.TraceUser, coppice.TraceGroup} // as the hypervisor has them
	runs := func(trace coppice.Trace) bool { return trace.VM == m.VM && !slices.Contains(others, trace.Kind) }
	e.ask(r, "print", "for a log")
	wantTraces(t, e.h, runs, running...)
	must(t, r.Kill(e.ctx()))
	wantTraces(t, e.h, runs)
	must(t, e.h.RemoveConsole(e.ctx(), m.VM))
	wantTraces(t, e.h, ofVM(m.VM))
}

func networkTraces(t *testing.T, e *networkExam) {
	hosts := func(trace coppice.Trace) bool { return trace.VM == "" }
	closed := []coppice.TraceKind{coppice.TraceNamespace, coppice.TraceTap, coppice.TraceRules}
	id, guest := e.vm(coppice.EgressClosed)
	wantTraces(t, e.n, ofVM(id), closed...)
	must(t, e.n.SetUp(t.Context(), id, coppice.EgressOpen))
	wantTraces(t, e.n, ofVM(id), append(closed, coppice.TraceUplink)...)
	wantTraces(t, e.n, hosts, coppice.TraceRules)
	must(t, e.n.SetUp(t.Context(), id, coppice.EgressClosed))
	wantTraces(t, e.n, ofVM(id), closed...)
	guest.Unplug()
	must(t, e.n.TearDown(t.Context(), id))
	wantTraces(t, e.n, ofVM(id))
	wantTraces(t, e.n, hosts, coppice.TraceRules)
	if err := e.n.Erase(t.Context(), coppice.Trace{Kind: coppice.TraceTap, Name: fmt.Sprint("tap of ", id), VM: id}); err == nil {
		t.Error("a tap can be erased")
	}
}
