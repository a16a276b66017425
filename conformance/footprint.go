package conformance

import (
	"errors"
	"strings"
	"testing"

	"github.com/coppice-vm/coppice"
)

func poolMeasures(t *testing.T, p PoolUnderTest) {
	capture := coppice.NewCaptureID()
	begun := p.begin(t, capture, "old")
	p.write(t, begun.Disk, strings.Repeat("old", mib))
	committed, err := p.CommitCapture(t.Context(), capture)
	must(t, err)
	size := coppice.Size{DiskMiB: 3, MemoryMiB: 1}
	one := p.create(t, coppice.NewVMID(), committed.Disk, size).Disk
	two := p.create(t, coppice.NewVMID(), committed.Disk, size).Disk
	whole := []string{committed.Disk, committed.Memory, committed.State}

	p.wantFootprints(t, []footprintWanted{
		{[]string{one}, false, true},
		{[]string{two}, false, true},
		{whole, true, true},                                    // memory and state are of nobody else
		{[]string{p.VM(coppice.NewVMID()).Disk}, false, false}, // not there
		{nil, false, false},
	})
	p.wantFootprints(t, []footprintWanted{{[]string{committed.Memory}, true, false}})
	// What only the files of one thing have is its own, however many they are.
	p.wantFootprints(t, []footprintWanted{{append(whole, one, two), true, false}})

	// What is of two things is of neither alone.
	p.wantFootprints(t, []footprintWanted{{append(whole, one), false, true}, {append(whole, two), false, true}})

	p.write(t, one, strings.Repeat("new", mib))
	p.wantFootprints(t, []footprintWanted{{[]string{one}, true, false}, {[]string{two}, false, true}})
	must(t, p.RemoveCapture(t.Context(), capture))
	p.wantFootprints(t, []footprintWanted{{[]string{one}, true, false}, {[]string{two}, true, false}, {whole, false, false}})
}

// A footprintWanted says of a thing whether it has something to itself, and
// whether it has something in common with others.
type footprintWanted struct {
	thing       []string
	own, shared bool
}

func (p PoolUnderTest) wantFootprints(t *testing.T, wanted []footprintWanted) {
	t.Helper()
	var things [][]string
	for _, w := range wanted {
		things = append(things, w.thing)
	}
	got, err := p.DiskFootprints(t.Context(), things)
	must(t, err)
	for i, w := range wanted {
		if (got[i].Own > 0) != w.own || (got[i].Shared > 0) != w.shared {
			t.Errorf("%v: %+v, want something of its own: %v, something shared: %v", w.thing, got[i], w.own, w.shared)
		}
	}
}

func measures(t *testing.T, e *hypervisorExam) {
	m, r := e.restore()
	before, err := e.h.Work(e.ctx(), m.VM)
	must(t, err)
	e.ask(r, "keep", "something new")
	got, err := e.h.MemoryFootprint(e.ctx(), m.VM)
	must(t, err)
	if got.Own <= 0 || got.Shared <= 0 {
		t.Errorf("a guest that came from a capture and went on has %+v", got)
	}
	after, err := e.h.Work(e.ctx(), m.VM)
	must(t, err)
	if before.CPU <= 0 || after.CPU <= before.CPU || after.Read < before.Read || after.Written < before.Written {
		t.Errorf("a guest that did something has done %+v, and before %+v", after, before)
	}
	must(t, r.Kill(e.ctx()))
	for _, id := range []coppice.VMID{m.VM, coppice.NewVMID()} {
		if got, err := e.h.MemoryFootprint(e.ctx(), id); !errors.Is(err, coppice.ErrNoRun) {
			t.Errorf("a VM without a run has %+v, %v; want ErrNoRun", got, err)
		}
		if got, err := e.h.Work(e.ctx(), id); !errors.Is(err, coppice.ErrNoRun) {
			t.Errorf("a VM without a run has done %+v, %v; want ErrNoRun", got, err)
		}
	}
}
