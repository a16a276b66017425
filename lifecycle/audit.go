package lifecycle

import (
	"context"
	"fmt"
	"slices"

	"github.com/coppice-vm/coppice"
)

// A count is how many there may be of something.
type count struct{ least, most int }

var (
	none  = count{0, 0}
	maybe = count{0, 1}
	one   = count{1, 1}
	two   = count{2, 2}
)

// due says what the host has of a VM in a state, when nothing is being done to
// it. Logs may always be there. A failed VM may have a process that does not answer.
var due = map[coppice.TraceKind]map[coppice.State]count{
	coppice.TraceProcess:   {coppice.Running: one, coppice.Failed: maybe},
	coppice.TraceRecord:    {coppice.Running: one, coppice.Failed: maybe},
	coppice.TraceSocket:    {coppice.Running: two, coppice.Failed: {0, 2}},
	coppice.TraceNamespace: {coppice.Running: one, coppice.Failed: maybe},
	coppice.TraceTap:       {coppice.Running: one, coppice.Failed: maybe},
	coppice.TraceRules:     {coppice.Running: one, coppice.Failed: maybe},
	coppice.TraceUplink:    {coppice.Running: one, coppice.Failed: maybe}, // see dueUplinks
	coppice.TraceDisk:      {coppice.Running: one, coppice.Suspended: one, coppice.Stopped: one, coppice.Failed: one},
	coppice.TraceMemory:    {coppice.Running: one, coppice.Suspended: one, coppice.Stopped: one, coppice.Failed: one},
}

// dueUplinks is due for the uplink of a VM that has this policy: one that may
// reach nothing has none.
func dueUplinks(vm *coppice.VM, policy coppice.Egress) count {
	switch {
	case policy == "" && vm.State == coppice.Running:
		return maybe // who looks does not know what the default is
	case policy.Closed():
		return none
	}
	return due[coppice.TraceUplink][vm.State]
}

// A survey is what the store says, and what the host has.
type survey struct {
	vms      map[coppice.VMID]*coppice.VM // those that are not deleted
	captures map[coppice.CaptureID]*coppice.Capture
	traces   []coppice.Trace

	image  coppice.ImageID // that new VMs start from
	egress coppice.Egress  // of VMs that say nothing
	found  []coppice.Discrepancy
}

// survey looks at the host first, and then at the store: a row is there before
// anything else of a VM or a capture, and goes last.
func (c *Config) survey(ctx context.Context) (*survey, error) {
	s := &survey{
		vms: map[coppice.VMID]*coppice.VM{}, captures: map[coppice.CaptureID]*coppice.Capture{},
		image: c.Image, egress: c.Egress,
	}
	for _, place := range c.places() {
		traces, err := place.Traces(ctx)
		if err != nil {
			return nil, err
		}
		s.traces = append(s.traces, traces...)
	}
	captures, err := c.Captures.Captures(ctx, "")
	if err != nil {
		return nil, err
	}
	for i := range captures {
		s.captures[captures[i].ID] = &captures[i]
	}
	vms, err := c.Store.VMs(ctx, coppice.VMFilter{})
	for i := range vms {
		s.vms[vms[i].ID] = &vms[i]
	}
	return s, err
}

func (c *Config) places() []coppice.Inspector {
	return append([]coppice.Inspector{c.Hypervisor, c.Pool, c.Network}, c.Places...)
}

// compare returns the differences between what the store says and what the host
// has. A VM that something is being done to is left out.
func (s *survey) compare() []coppice.Discrepancy {
	vms, captures, nobodys := map[coppice.VMID][]coppice.Trace{}, map[coppice.CaptureID][]coppice.Trace{}, []coppice.Trace(nil)
	for _, t := range s.traces {
		switch {
		case t.VM != "":
			vms[t.VM] = append(vms[t.VM], t)
		case t.Capture != "":
			captures[t.Capture] = append(captures[t.Capture], t)
		default:
			nobodys = append(nobodys, t)
		}
	}
	for id, traces := range vms {
		if s.vms[id] == nil {
			s.orphaned(traces, "a VM that is not there")
		}
	}
	for id, vm := range s.vms {
		if vm.Verb == coppice.Idle {
			s.compareVM(vm, vms[id])
		}
	}
	for id, traces := range captures {
		if s.captures[id] == nil {
			s.orphaned(traces, "a capture that is not there")
		}
	}
	for _, c := range s.captures {
		s.compareCapture(c, captures[c.ID])
	}
	s.compareNobodys(nobodys)
	slices.SortFunc(s.found, func(a, b coppice.Discrepancy) int {
		return slices.Compare(key(&a), key(&b))
	})
	return s.found
}

// key tells discrepancies apart, and orders them.
func key(d *coppice.Discrepancy) []string {
	return []string{string(d.VM), string(d.Capture), string(d.Kind), d.Name, fmt.Sprint(d.Missing)}
}

func (s *survey) surplus(t coppice.Trace, text, fix string, repairable bool) {
	s.found = append(s.found, coppice.Discrepancy{Trace: t, Text: text, Fix: fix, Repairable: repairable})
}

func (s *survey) missing(t coppice.Trace, text, fix string, repairable bool) {
	s.found = append(s.found, coppice.Discrepancy{Trace: t, Missing: true, Text: text, Fix: fix, Repairable: repairable})
}

const repair = "coppice doctor --audit --repair"

// orphaned is about what belongs to something that has no row.
func (s *survey) orphaned(traces []coppice.Trace, whose string) {
	for _, t := range traces {
		s.surplus(t, fmt.Sprintf("%s of %s", t.Kind, whose), repair, true)
	}
}

func (s *survey) compareVM(vm *coppice.VM, traces []coppice.Trace) {
	has := map[coppice.TraceKind][]coppice.Trace{}
	for _, t := range traces {
		has[t.Kind] = append(has[t.Kind], t)
	}
	for kind, states := range due {
		want := states[vm.State]
		if kind == coppice.TraceUplink {
			want = dueUplinks(vm, vm.Egress.Or(s.egress))
		}
		if n := len(has[kind]); n < want.least {
			s.missing(coppice.Trace{Kind: kind, VM: vm.ID}, fmt.Sprintf("the VM is %s and has no %s", vm.State, kind), fixOfMissing(vm, kind), false)
		} else if n > want.most {
			for _, t := range has[kind][want.most:] {
				s.tooMuch(vm, t)
			}
		}
	}
	for _, t := range has[coppice.TraceStray] {
		s.stray(t)
	}
	for _, t := range has[coppice.TraceUnfinished] {
		s.surplus(t, "files that were begun for a VM, or taken from it, and are of no use", repair, true)
	}
	if vm.Base != "" && s.captures[vm.Base] == nil {
		s.missing(coppice.Trace{Kind: coppice.TraceRow, VM: vm.ID, Capture: vm.Base}, "the VM needs a capture that is not there", "coppice kill "+string(vm.ID), false)
	}
	s.wantImage(coppice.Trace{VM: vm.ID, Image: vm.Image}, "the VM")
}

// tooMuch is about what a VM in its state should not have. One that runs is not
// touched: what there is too much may be what it runs by.
func (s *survey) tooMuch(vm *coppice.VM, t coppice.Trace) {
	fix, repairable := repair, true
	if vm.State == coppice.Running {
		fix, repairable = "coppice stop "+string(vm.ID)+" && coppice start "+string(vm.ID), false
	}
	s.surplus(t, fmt.Sprintf("the VM is %s and should not have this %s", vm.State, t.Kind), fix, repairable)
}

func fixOfMissing(vm *coppice.VM, kind coppice.TraceKind) string {
	id := string(vm.ID)
	switch {
	case kind == coppice.TraceDisk, kind == coppice.TraceMemory && vm.State != coppice.Running:
		return "its files are lost; if they are nowhere else: coppice rm " + id
	case kind == coppice.TraceProcess:
		return "coppice kill " + id + " && coppice start " + id
	}
	return "coppice stop " + id + " && coppice start " + id
}

func (s *survey) compareCapture(c *coppice.Capture, traces []coppice.Trace) {
	needed, resumes := s.needs(c)
	if !needed {
		s.surplus(coppice.Trace{Kind: coppice.TraceRow, Name: string(c.ID), Capture: c.ID}, "a capture that nothing needs", repair, true)
		return
	}
	has := map[coppice.TraceKind]bool{}
	for _, t := range traces {
		switch t.Kind {
		case coppice.TraceStray:
			s.stray(t)
		case coppice.TraceUnfinished:
			s.surplus(t, "files of a capture that was begun and is of no use", repair, true)
		}
		has[t.Kind] = true
	}
	// What only VMs that run need may have been trimmed.
	whole := c.Keep || resumes
	for kind, want := range map[coppice.TraceKind]bool{
		coppice.TraceMemory: c.Live, coppice.TraceState: c.Live && whole, coppice.TraceDisk: whole,
	} {
		if !want || has[kind] {
			continue
		}
		t, text := coppice.Trace{Kind: kind, Capture: c.ID}, fmt.Sprintf("the capture has no %s", kind)
		switch {
		case c.Account == coppice.SystemAccount:
			s.missing(t, text+"; VMs of its size cannot be made from it", repair+", which has it made anew", true)
		case c.Keep:
			s.missing(t, text, "the snapshot is lost: coppice snapshot rm "+string(c.ID), false)
		default:
			s.missing(t, text, "what suspended VMs had in memory is lost; coppice kill makes them stopped ones", false)
		}
	}
	if c.Keep {
		s.wantImage(coppice.Trace{Capture: c.ID, Image: c.Image}, "what is made from the capture")
	}
}

// needs says whether anything needs a capture, and whether a VM is to go on from it.
func (s *survey) needs(c *coppice.Capture) (needed, resumes bool) {
	needed = c.Keep
	for _, vm := range s.vms {
		if vm.Base == c.ID {
			needed = true
			resumes = resumes || vm.State != coppice.Running
		}
	}
	return needed, resumes
}

// wantImage is about the image that something boots from.
func (s *survey) wantImage(of coppice.Trace, who string) {
	if slices.ContainsFunc(s.traces, func(t coppice.Trace) bool { return t.Image == of.Image }) {
		return
	}
	of.Kind, of.Name = coppice.TraceImage, string(of.Image)
	s.missing(of, who+" boots from an image that is not there", "install the version of coppice that the image is of, and start it once", false)
}

func (s *survey) compareNobodys(traces []coppice.Trace) {
	images := map[coppice.ImageID]bool{s.image: true}
	for _, vm := range s.vms {
		images[vm.Image] = true
	}
	for _, c := range s.captures {
		images[c.Image] = true
	}
	fenced := false
	for _, t := range traces {
		switch t.Kind {
		case coppice.TraceImage:
			if !images[t.Image] {
				s.surplus(t, "an image that nothing boots from", repair, true)
			}
		case coppice.TraceRules:
			fenced = true // by all daemons of the host, for good
		case coppice.TraceUnfinished:
			s.surplus(t, "files that were begun and are of no use", repair, t.Disposable)
		default:
			s.stray(t)
		}
	}
	uplinked := slices.ContainsFunc(s.traces, func(t coppice.Trace) bool { return t.Kind == coppice.TraceUplink })
	if uplinked && !fenced {
		s.missing(coppice.Trace{Kind: coppice.TraceRules, Name: "of the host"}, "VMs have ways out, and the host has no rules for them: they may reach it",
			"coppice down && coppice up", false)
	}
}

// stray is about what coppice has not made.
func (s *survey) stray(t coppice.Trace) {
	fix := repair
	if !t.Disposable {
		fix = "look at it, and move or remove it"
	}
	s.surplus(t, "this is nothing that coppice makes", fix, t.Disposable)
}

// Inspect compares what the store says with what the host has where no daemon
// runs. It changes nothing; what a daemon would settle when it starts is listed.
func Inspect(ctx context.Context, config Config) ([]coppice.Discrepancy, error) {
	s, err := config.survey(ctx)
	if err != nil {
		return nil, err
	}
	return s.compare(), nil
}
