package lifecycle_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coppice-vm/coppice"
	"github.com/coppice-vm/coppice/lifecycle"
	"github.com/coppice-vm/coppice/mem"
)

// A place is somewhere on the host with nothing but traces.
type place struct{ traces []coppice.Trace }

func (p *place) Traces(context.Context) ([]coppice.Trace, error) { return slices.Clone(p.traces), nil }

func (p *place) Erase(_ context.Context, t coppice.Trace) error {
	p.traces = slices.DeleteFunc(p.traces, func(other coppice.Trace) bool { return other == t })
	return nil
}

// without lists what an inspector does, but for what has been lost.
func (h *host) without(ctx context.Context, i coppice.Inspector) ([]coppice.Trace, error) {
	traces, err := i.Traces(ctx)
	return slices.DeleteFunc(traces, func(t coppice.Trace) bool { return h.lost != nil && h.lost(t) }), err
}

type lossyHypervisor struct {
	*mem.Hypervisor
	h *host
}

func (l lossyHypervisor) Traces(ctx context.Context) ([]coppice.Trace, error) {
	return l.h.without(ctx, l.Hypervisor)
}

func (l lossyHypervisor) Discard(ctx context.Context, id coppice.VMID) error {
	if discard := l.h.discarding.Load(); discard != nil {
		if err := (*discard)(); err != nil {
			return err
		}
	}
	return l.Hypervisor.Discard(ctx, id)
}

type lossyNetwork struct {
	*faultyWires
	h *host
}

func (l lossyNetwork) Traces(ctx context.Context) ([]coppice.Trace, error) {
	return l.h.without(ctx, l.faultyWires)
}

// A yard is a host with a VM in every state, whose world can be tampered with.
type yard struct {
	*host
	running, suspended, stopped, failed coppice.VMID
	closed                              coppice.VMID // runs, and may reach nothing
	snapshot, template                  coppice.CaptureID
}

func newYard(t *testing.T) *yard {
	y := &yard{host: newHost(t)}
	y.running, y.suspended, y.stopped, y.failed, y.closed = y.create().ID, y.create().ID, y.create().ID, y.create().ID, y.create().ID
	y.must(y.Suspend(t.Context(), alice, y.suspended))
	y.must(y.Stop(t.Context(), alice, y.stopped))
	y.hv.End(y.failed, coppice.Exit{Kind: coppice.ExitCrash, Detail: "it crashed"})
	y.await(y.failed, coppice.Failed)
	if _, err := y.SetEgress(t.Context(), alice, y.closed, coppice.EgressClosed); err != nil {
		t.Fatal(err)
	}
	snapshot, err := y.TakeSnapshot(t.Context(), alice, y.running, "", coppice.Persistence{})
	if err != nil {
		t.Fatal(err)
	}
	template, err := y.Template(t.Context(), y.Size)
	if err != nil {
		t.Fatal(err)
	}
	y.snapshot, y.template = snapshot.ID, template.ID
	return y
}

// process starts a process for a VM, and what it takes, behind the daemon's back.
func (y *yard) process(id coppice.VMID) {
	files := y.pool.VM(id)
	if _, err := y.hv.Start(y.t.Context(), coppice.Machine{VM: id, Disk: files.Disk, Memory: files.Memory, Boot: &coppice.Image{}}); err != nil {
		y.t.Fatal(err)
	}
}

func (y *yard) files(id coppice.VMID) {
	_, err := y.pool.CreateVM(y.t.Context(), id, "", y.Size)
	y.ok(err)
}

func (y *yard) ok(err error) {
	y.t.Helper()
	if err != nil {
		y.t.Fatal(err)
	}
}

// lose loses a kind of trace, of a VM or of nobody.
func (y *yard) lose(kind coppice.TraceKind, id coppice.VMID) {
	y.lost = func(t coppice.Trace) bool { return t.Kind == kind && t.VM == id }
}

// Every kind of surplus and deficit is found, with whose it is, and what can be
// repaired is.
func TestAuditFinds(t *testing.T) {
	const (
		surplus = "surplus "
		missing = "missing "
		fixed   = " repaired"
	)
	stranger, strange := coppice.NewVMID(), coppice.NewCaptureID()
	for _, test := range []struct {
		name   string
		tamper func(*yard)
		want   []string
	}{
		{"nothing", func(*yard) {}, nil},

		{"a process of nobody", func(y *yard) { y.files(stranger); y.process(stranger) }, []string{
			"surplus disk of stranger repaired", "surplus log of stranger repaired", "surplus memory of stranger repaired", "surplus process of stranger repaired",
			"surplus record of stranger repaired", "surplus socket of stranger repaired", "surplus socket of stranger repaired",
		}},
		{"files of nobody", func(y *yard) { y.files(stranger) }, []string{
			"surplus disk of stranger repaired", "surplus memory of stranger repaired",
		}},
		{"a network of nobody", func(y *yard) { y.ok(y.net.SetUp(t.Context(), stranger, coppice.EgressOpen)) }, []string{
			"surplus network namespace of stranger repaired", "surplus rules of stranger repaired", "surplus tap of stranger repaired", "surplus uplink of stranger repaired",
		}},
		{"a log of nobody", func(y *yard) {
			y.files(stranger)
			y.process(stranger)
			y.ok(y.hv.Discard(t.Context(), stranger))
			y.ok(y.pool.RemoveVM(t.Context(), stranger))
		}, []string{"surplus log of stranger repaired"}},
		{"a process of a VM that is stopped", func(y *yard) { y.process(y.stopped) }, []string{
			"surplus process of stopped repaired", "surplus record of stopped repaired", "surplus socket of stopped repaired", "surplus socket of stopped repaired",
		}},
		{"a process of a VM that is suspended", func(y *yard) { y.process(y.suspended) }, []string{
			"surplus process of suspended repaired", "surplus record of suspended repaired", "surplus socket of suspended repaired", "surplus socket of suspended repaired",
		}},
		{"a process of a VM that is lost", func(y *yard) { y.process(y.failed) }, nil},
		{"a network of a VM that is suspended", func(y *yard) { y.ok(y.net.SetUp(t.Context(), y.suspended, coppice.EgressClosed)) }, []string{
			"surplus network namespace of suspended repaired", "surplus rules of suspended repaired", "surplus tap of suspended repaired",
		}},
		{"a way out of a VM that has none", func(y *yard) { y.ok(y.net.SetUp(t.Context(), y.closed, coppice.EgressOpen)) }, []string{
			"surplus uplink of closed",
		}},
		{"a capture of nobody", func(y *yard) {
			_, err := y.pool.BeginCapture(t.Context(), strange)
			y.ok(err)
			_, err = y.pool.CommitCapture(t.Context(), strange)
			y.ok(err)
		}, []string{"surplus device state of strange repaired", "surplus disk of strange repaired", "surplus memory of strange repaired"}},
		{"a capture that was begun", func(y *yard) {
			_, err := y.pool.BeginCapture(t.Context(), strange)
			y.ok(err)
		}, []string{"surplus unfinished of strange repaired"}},
		{"a capture that nothing needs", func(y *yard) {
			y.ok(y.store.InsertCapture(t.Context(), coppice.Capture{ID: strange, Account: alice, Size: y.Size, Image: "image", CreatedAt: time.Now()}))
		}, []string{"surplus row of strange repaired"}},
		{"an image that nothing boots from", func(y *yard) {
			y.place.traces = []coppice.Trace{{Kind: coppice.TraceImage, Name: "old", Image: "old", Disposable: true}}
		}, []string{"surplus image old repaired"}},
		{"what may be removed", func(y *yard) {
			y.place.traces = []coppice.Trace{
				{Kind: coppice.TraceStray, Name: "cpv1", Disposable: true}, {Kind: coppice.TraceUnfinished, Name: "tmp/x", Disposable: true},
				{Kind: coppice.TraceStray, Name: "link", VM: y.running, Disposable: true}, {Kind: coppice.TraceUnfinished, Name: "tmp/y", VM: y.running, Disposable: true},
			}
		}, []string{"surplus stray cpv1 repaired", "surplus stray of running repaired", "surplus unfinished of running repaired", "surplus unfinished tmp/x repaired"}},
		{"what may not be removed", func(y *yard) {
			y.place.traces = []coppice.Trace{
				{Kind: coppice.TraceStray, Name: "notes"}, {Kind: coppice.TraceStray, Name: "vms/x/notes", VM: y.stopped}, {Kind: coppice.TraceStray, Name: "notes", Capture: y.snapshot},
			}
		}, []string{"surplus stray notes", "surplus stray of snapshot", "surplus stray of stopped"}},

		{"no process", func(y *yard) { y.lose(coppice.TraceProcess, y.running) }, []string{"missing process of running"}},
		{"no record", func(y *yard) { y.lose(coppice.TraceRecord, y.running) }, []string{"missing record of running"}},
		{"no sockets", func(y *yard) { y.lose(coppice.TraceSocket, y.running) }, []string{"missing socket of running"}},
		{"no namespace", func(y *yard) { y.lose(coppice.TraceNamespace, y.running) }, []string{"missing network namespace of running"}},
		{"no tap", func(y *yard) { y.lose(coppice.TraceTap, y.closed) }, []string{"missing tap of closed"}},
		{"no rules", func(y *yard) { y.lose(coppice.TraceRules, y.running) }, []string{"missing rules of running"}},
		{"no way out", func(y *yard) { y.ok(y.net.SetUp(t.Context(), y.running, coppice.EgressClosed)) }, []string{"missing uplink of running"}},
		{"no rules of the host", func(y *yard) { y.lose(coppice.TraceRules, "") }, []string{"missing rules of the host"}},
		{"no files", func(y *yard) { y.ok(y.pool.RemoveVM(t.Context(), y.stopped)) }, []string{"missing disk of stopped", "missing memory of stopped"}},
		{"no files of a VM that is lost", func(y *yard) { y.ok(y.pool.RemoveVM(t.Context(), y.failed)) }, []string{"missing disk of failed", "missing memory of failed"}},
		{"no snapshot", func(y *yard) { y.ok(y.pool.RemoveCapture(t.Context(), y.snapshot)) }, []string{
			"missing device state of snapshot", "missing disk of snapshot", "missing memory of snapshot",
		}},
		{"what a VM resumes from is trimmed", func(y *yard) {
			vm, err := y.store.VM(t.Context(), y.suspended)
			y.ok(err)
			y.snapshot = vm.Base
			y.ok(y.pool.TrimCapture(t.Context(), vm.Base))
		}, []string{"missing device state of snapshot", "missing disk of snapshot"}},
		{"no image", func(y *yard) {
			y.lost = func(t coppice.Trace) bool { return t.Kind == coppice.TraceImage }
			y.ok(y.pool.RemoveVM(t.Context(), y.stopped)) // more than one thing
		}, []string{
			"missing disk of stopped", "missing image of closed", "missing image of failed", "missing image of running", "missing image of snapshot",
			"missing image of stopped", "missing image of suspended", "missing image of template", "missing memory of stopped",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				y := newYard(t)
				names := func() *strings.Replacer {
					return strings.NewReplacer(string(stranger), "stranger", string(strange), "strange", string(y.running), "running", string(y.suspended), "suspended",
						string(y.stopped), "stopped", string(y.failed), "failed", string(y.closed), "closed", string(y.snapshot), "snapshot", string(y.template), "template")
				}
				audit := func(repair bool) (found []string) {
					t.Helper()
					all, err := y.Audit(t.Context(), repair)
					y.ok(err)
					for _, d := range all {
						line := surplus
						if d.Missing {
							line = missing
						}
						line += string(d.Kind) + " "
						switch {
						case d.VM != "":
							line += "of " + string(d.VM)
						case d.Capture != "":
							line += "of " + string(d.Capture)
						default:
							line += d.Name
						}
						if d.Repaired {
							line += fixed
						}
						if d.Fix == "" || d.Text == "" || d.Err != nil {
							t.Errorf("%+v", d)
						}
						found = append(found, names().Replace(line))
					}
					slices.Sort(found)
					return found
				}
				if found := audit(false); found != nil {
					t.Fatalf("before anything was tampered with: %q", found)
				}
				test.tamper(y)
				var want, left []string
				for _, line := range test.want {
					line, repaired := strings.CutSuffix(line, fixed)
					if want = append(want, line); !repaired {
						left = append(left, line)
					}
				}
				if found := audit(false); !slices.Equal(found, want) {
					t.Errorf("found\n%q, want\n%q", found, want)
				}
				if found := audit(true); !slices.Equal(found, test.want) {
					t.Errorf("repaired\n%q, want\n%q", found, test.want)
				}
				if found := audit(false); !slices.Equal(found, left) {
					t.Errorf("left\n%q, want\n%q", found, left)
				}
			})
		})
	}
}

// A template that has lost its files is forgotten, and made anew by the next
// create.
func TestAuditRepairsTemplate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		c, err := h.Template(t.Context(), h.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.pool.RemoveCapture(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		found, err := h.Audit(t.Context(), true)
		if err != nil || len(found) != 3 || !found[0].Repaired {
			t.Fatalf("%+v, %v", found, err)
		}
		h.create()
		if found, err := h.Audit(t.Context(), false); err != nil || found != nil {
			t.Errorf("%+v, %v", found, err)
		}
	})
}

// What is being done, and what is made ahead, is no discrepancy.
func TestAuditAmidstVerbs(t *testing.T) {
	h := newHost(t)
	h.leave(t.Context())
	h.spares, h.husks = 2, 2
	h.open()
	h.create() // and with it the template
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var lived atomic.Int64
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				vm, err := h.Create(ctx, coppice.NewVM{Account: alice})
				if err != nil {
					continue
				}
				h.Suspend(ctx, alice, vm.ID)
				h.Start(ctx, alice, vm.ID, coppice.StartOptions{})
				forks, _ := h.Fork(ctx, alice, vm.ID, coppice.ForkSpec{Count: 2})
				snapshot, _ := h.TakeSnapshot(ctx, alice, vm.ID, "", coppice.Persistence{})
				h.Stop(ctx, alice, vm.ID)
				h.DeleteSnapshot(ctx, alice, snapshot.ID)
				for _, f := range append(forks, coppice.Fork{VM: vm}) {
					h.Delete(ctx, alice, f.VM.ID)
				}
				if len(forks) == 2 && snapshot.ID != "" {
					lived.Add(1)
				}
			}
		})
	}
	for looks := 0; looks < 300 || lived.Load() < 20; looks++ {
		found, err := h.Audit(ctx, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range found {
			t.Errorf("a false alarm: %+v", d)
		}
	}
}

// Without a daemon one can look all the same.
func TestInspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t)
		config := y.Config
		y.leave(t.Context())
		y.process(y.stopped)
		found, err := lifecycle.Inspect(t.Context(), config)
		if err != nil || len(found) != 4 || found[0].VM != y.stopped {
			t.Errorf("%+v, %v", found, err)
		}
	})
}

// A daemon that starts removes the images of earlier builds that nothing boots
// from any more, and no other.
func TestOldImagesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		vm := h.create()
		h.leave(t.Context())
		h.must(h.store.UpdateVM(t.Context(), vm.ID, func(vm *coppice.VM) error { vm.Image = "needed"; return nil }))
		needed := coppice.Trace{Kind: coppice.TraceImage, Name: "needed", Image: "needed", Disposable: true}
		h.place.traces = []coppice.Trace{needed, {Kind: coppice.TraceImage, Name: "old", Image: "old", Disposable: true}}
		h.open()
		synctest.Wait()
		if !slices.Equal(h.place.traces, []coppice.Trace{needed}) {
			t.Errorf("left are %+v", h.place.traces)
		}
		if _, err := h.pool.Image(t.Context(), "image"); err != nil {
			t.Error(err)
		}
	})
}
