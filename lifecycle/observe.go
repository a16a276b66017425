package lifecycle

import (
	"context"
	"time"

	"github.com/coppice-vm/coppice"
)

// An Observer is told what a manager does, for somebody who counts. Its methods
// are called by many at once, and return at once.
type Observer interface {
	// Did says how a verb has gone, or a phase of one, if that is not empty, and
	// how long it took.
	Did(verb coppice.Verb, phase string, took time.Duration, err error)
	// Woke says that a suspended VM runs again, and what for: as with
	// [Manager.Use], or "start" if somebody asked for just that.
	Woke(by string)
	// Evicted says that a VM was deleted for want of storage.
	Evicted()
}

// A Tracer is told of each request which parts what is done for it has. Its
// methods are called by many at once, and return at once.
type Tracer interface {
	// Begin begins a part, which belongs to that of ctx if there is one. What it
	// returns is the context of what belongs to it, and what ends it, at a time,
	// which is called once.
	Begin(ctx context.Context, part coppice.Part) (_ context.Context, end func(at time.Time, err error))
}

// nobody observes nothing, and traces nothing.
type nobody struct{}

func (nobody) Did(coppice.Verb, string, time.Duration, error) {}
func (nobody) Woke(string)                                    {}
func (nobody) Evicted()                                       {}

func (nobody) Begin(ctx context.Context, _ coppice.Part) (context.Context, func(time.Time, error)) {
	return ctx, func(time.Time, error) {}
}

// phase begins a phase of the verb that is being done to a VM: with the context
// it returns, until it is ended.
func (m *Manager) phase(ctx context.Context, vm *coppice.VM, name string) (_ context.Context, end func(error)) {
	return m.phaseWith(ctx, vm, vm.Base, name)
}

// phaseWith is phase, for one that has to do with another capture than the VM's base.
func (m *Manager) phaseWith(ctx context.Context, vm *coppice.VM, capture coppice.CaptureID, name string) (_ context.Context, end func(error)) {
	began := time.Now()
	ctx, endPart := m.Tracer.Begin(ctx, coppice.Part{Name: name, VM: vm.ID, Capture: capture, Began: began})
	return ctx, func(err error) {
		now := time.Now()
		endPart(now, err)
		m.Observer.Did(vm.Verb, name, now.Sub(began), err)
	}
}

// pastPhase is phaseWith, of one that is over.
func (m *Manager) pastPhase(ctx context.Context, vm *coppice.VM, capture coppice.CaptureID, name string, began time.Time, took time.Duration, err error) {
	_, endPart := m.Tracer.Begin(ctx, coppice.Part{Name: name, VM: vm.ID, Capture: capture, Began: began})
	endPart(began.Add(took), err)
	m.Observer.Did(vm.Verb, name, took, err)
}

// A within is a context that ends with one and knows what another does: who asks
// for something is known to what is done for him, also when he waits no more.
type within struct {
	context.Context
	asked context.Context
}

// forWhom returns the context of what the daemon does for whom asked is.
func (m *Manager) forWhom(asked context.Context) context.Context {
	return within{m.base, context.WithoutCancel(asked)}
}

func (w within) Value(key any) any {
	if v := w.asked.Value(key); v != nil {
		return v
	}
	return w.Context.Value(key)
}
