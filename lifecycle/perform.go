package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/coppice-vm/coppice"
)

// A flight is a verb being done to a VM by this process.
type flight struct {
	verb   coppice.Verb // Idle while the row is being settled
	fact   bool         // it follows from a fact: nobody asked for it
	cancel context.CancelCauseFunc
	done   chan struct{}
	vm     coppice.VM // when done
	err    error      // when done
}

// work does a verb's part between taking the verb and writing down the
// outcome. It may change the row it is given; what it leaves is written,
// whether it fails or not. It runs until done or until ctx ends, which also
// happens when the verb is pre-empted, and takes back what a failure makes useless.
type work func(ctx context.Context, vm *coppice.VM) error

// A request is a verb on its way to a VM.
type request struct {
	verb coppice.Verb
	// edit is applied to the row as the verb is taken, or says why that may not
	// be; may be nil.
	edit func(*coppice.VM) error
	do   work
	// why says in a sentence why the verb is done, if nobody asked for it.
	why string
	// inLieu is the verb that this one is done in place of; it may be done
	// where, and cuts short what, that one would. Idle if there is none.
	inLieu coppice.Verb
	// after is done when the row says that the verb has worked; may be nil. What
	// it leaves undone, settling the row would do.
	after work
	// still is set for a request that follows from a fact: it says, with m.mu
	// held, whether the fact still holds.
	still func(*entry) bool
}

// asked returns the verb whose rules hold for r.
func (r *request) asked() coppice.Verb { return cmp.Or(r.inLieu, r.verb) }

// A detour is the error of work that failed and left the VM in another state
// than its step says.
type detour struct {
	error
	to coppice.State
}

func (d *detour) Unwrap() error { return d.error }

var (
	errLeaving   = errors.New("the daemon is leaving")
	errPreempted = errors.New("pre-empted")
	errMoot      = errors.New("the request does not stand any more")
)

// perform does a verb to a VM and returns when it has been done, or when ctx
// ends, which does not cancel it. The same verb in flight is joined, and one that
// leads to the same state waited for; another one is a conflict, but gives way
// to a delete, and to a kill unless the VM is being made.
func (m *Manager) perform(ctx context.Context, id coppice.VMID, r request) (coppice.VM, error) {
	for {
		f, mine, err := m.enter(ctx, id, r)
		if err != nil {
			return coppice.VM{}, err
		}
		goal, joins := goals[r.verb]
		switch {
		case mine, f.verb == r.verb && joins && !f.fact:
			return f.wait(ctx)
		case givesWay(f.verb, r.asked()) && r.still == nil: // facts await their turn
			f.cancel(errPreempted)
		case f.verb == r.verb, f.verb == coppice.Idle: // Idle: being settled
		case joins && goals[f.verb] == goal: // what it leads to may be all that is asked for
		default:
			return coppice.VM{}, busy(id, f.verb, r.asked())
		}
		if _, err := f.wait(ctx); ctx.Err() != nil {
			return coppice.VM{}, err
		}
	}
}

// givesWay reports whether verb, in flight, is cut short for the sake of next.
func givesWay(verb, next coppice.Verb) bool {
	switch next {
	case coppice.Delete:
		return true
	case coppice.Kill:
		return verb != coppice.Restore && verb != coppice.Delete
	}
	return false
}

// enter puts r in flight for whom ctx is, or returns what is in flight already.
func (m *Manager) enter(ctx context.Context, id coppice.VMID, r request) (f *flight, mine bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(id)
	if e.flight != nil {
		return e.flight, false, nil
	}
	if r.still != nil && !r.still(e) {
		return nil, false, errMoot
	}
	if m.base.Err() != nil {
		return nil, false, leaving()
	}
	f = m.launchFlight(ctx, id, e, r.verb, func(ctx context.Context) (coppice.VM, error) {
		vm, step, verdict, err := m.claim(ctx, id, r)
		if _, told := errors.AsType[*coppice.Error](err); !told && err != nil && err != errMoot && context.Cause(ctx) == errPreempted {
			err = asError(errPreempted) // whatever the store makes of it
		}
		if err != nil || verdict == Already {
			return vm, err
		}
		vm, err = m.carryOut(ctx, vm, step, r.do)
		if err == nil && r.after != nil {
			if err := r.after(ctx, &vm); err != nil {
				m.Log.Error("something is left to be done after a verb", "vm", id, "verb", r.verb, "error", err)
			}
		}
		return vm, err
	})
	f.fact = r.still != nil
	return f, true, nil
}

// launchFlight starts fly as the VM's flight, for whom asked is. The caller holds m.mu.
func (m *Manager) launchFlight(asked context.Context, id coppice.VMID, e *entry, verb coppice.Verb, fly func(context.Context) (coppice.VM, error)) *flight {
	ctx, cancel := context.WithCancelCause(m.forWhom(asked))
	f := &flight{verb: verb, cancel: cancel, done: make(chan struct{})}
	e.flight = f
	m.work.Go(func() {
		defer cancel(nil)
		f.vm, f.err = fly(ctx)
		m.mu.Lock()
		e.flight = nil
		m.forget(id, e)
		if leadsToRunning(verb) {
			m.stir() // only now does the row say that it runs
		}
		m.mu.Unlock()
		close(f.done)
	})
	return f
}

// wait returns the flight's outcome, or an error when ctx ends first.
func (f *flight) wait(ctx context.Context) (coppice.VM, error) {
	select {
	case <-f.done:
		return f.vm, f.err
	case <-ctx.Done():
		return coppice.VM{}, ctx.Err()
	}
}

// claim takes the verb in the store, if the table allows it.
func (m *Manager) claim(ctx context.Context, id coppice.VMID, r request) (vm coppice.VM, step Step, verdict Verdict, err error) {
	vm, err = m.Store.UpdateVM(ctx, id, func(vm *coppice.VM) error {
		if vm.Verb != coppice.Idle {
			return busy(id, vm.Verb, r.asked())
		}
		step, _ = Plan(vm.State, r.verb)
		if _, verdict = Plan(vm.State, r.asked()); verdict == Refuse {
			return refused(vm, r.asked())
		}
		if r.edit != nil {
			if err := r.edit(vm); err != nil {
				return err
			}
		}
		if verdict == Do {
			take(vm, r.verb)
			vm.Reason = r.why
		}
		return nil
	})
	return vm, step, verdict, err
}

// take puts verb in flight in a row. A verb that begins a run names it now,
// before anything is done that would have to be found again after a crash.
func take(vm *coppice.VM, verb coppice.Verb) {
	vm.Verb = verb
	vm.VerbSince = time.Now().UTC()
	vm.Reason = ""
	switch verb {
	case coppice.Restore, coppice.Start, coppice.Resume, coppice.Reboot:
		vm.Instance = coppice.NewInstanceID()
		vm.Activity = coppice.Activity{At: vm.VerbSince}
	case coppice.Resize:
		if vm.State == coppice.Running {
			vm.Instance = coppice.NewInstanceID()
		}
	}
}

// carryOut does the work of the verb that vm's row has taken, and writes down
// where it led.
func (m *Manager) carryOut(ctx context.Context, vm coppice.VM, step Step, do work) (coppice.VM, error) {
	verb, began, base := vm.Verb, vm.VerbSince, vm.Base
	if base != "" {
		defer m.drop(base)() // the VM may be the last to need it
	}
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	part := coppice.Part{Name: "vm." + string(verb), VM: vm.ID, Capture: base, Began: began}
	if began.IsZero() {
		part.Name, part.Began = "vm.settle", time.Now()
	}
	within, end := m.Tracer.Begin(ctx, part)
	err := do(within, &vm)
	defer func() { end(time.Now(), err) }()
	if m.base.Err() != nil {
		// The row keeps its verb: whoever comes next settles it.
		return vm, leaving()
	}
	vm.State = step.Works
	if err != nil {
		vm.State = step.Fails
		if d, ok := errors.AsType[*detour](err); ok {
			vm.State = d.to
		}
		if errors.Is(context.Cause(ctx), errPreempted) {
			err = errPreempted // whatever it looked like from inside
		}
		err = asError(err)
		vm.Reason = err.(*coppice.Error).Message
	}
	vm.Verb = coppice.Idle
	vm.VerbSince = time.Time{}
	var took time.Duration
	if !began.IsZero() { // or it was only settled
		took = time.Since(began)
		m.Observer.Did(verb, "", took, err)
	}
	m.Log.Info("verb done", "vm", vm.ID, "verb", verb, "state", vm.State, "instance", vm.Instance, "took", took, "error", err)
	written := m.write(vm, eventOf(&vm, verb, began, err != nil))
	if base != "" && base != written.Base {
		m.shed(base)
	}
	return written, err
}

// write puts a row in the store, and what led to it, trying until it succeeds or the daemon leaves:
// until then the verb stays in flight, since its outcome is not on record.
func (m *Manager) write(vm coppice.VM, event coppice.Event) coppice.VM {
	for wait := tidySoon; ; wait = min(2*wait, time.Second) {
		written, err := m.Store.UpdateVM(m.base, vm.ID, func(row *coppice.VM) error {
			activity, private := row.Activity, row.Private // which change meanwhile
			*row = vm
			row.Activity, row.Private = activity, private
			m.amend(row)
			return nil
		}, event)
		if err == nil {
			m.tell()
			return written
		}
		if m.base.Err() != nil {
			return vm // the row keeps its verb: whoever comes next settles it
		}
		m.Log.Error("cannot write down the outcome of a verb; trying again", "vm", vm.ID, "error", err)
		select {
		case <-time.After(wait):
		case <-m.base.Done():
		}
	}
}
