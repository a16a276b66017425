package lifecycle

import (
	"context"

	"github.com/coppice-vm/coppice"
)

// Use returns the session with a VM's agent, for one who is to work inside the
// VM, and what ends the use. It is the only way in. by says in a word what it
// is for, for the log: "exec", "files", "ssh".
//
// A VM that is suspended is woken, whoever suspended it, and one on its way to
// running is waited for: all who come meanwhile wait for the same wake. A VM that
// is stopped or lost is not started: somebody wanted it that way, or should look
// at it first.
//
// Until release is called the VM counts as active and is not reclaimed. What
// somebody asks for, a stop or a suspend, is done all the same. The session
// belongs to the manager: do not close it. Calling release again does nothing. A
// connection that may be quiet for long calls it when it is connected, and says
// by [Manager.Touch] when bytes move.
func (m *Manager) Use(ctx context.Context, account coppice.AccountID, id coppice.VMID, by string) (session coppice.Session, release func(), err error) {
	if _, err := m.present(ctx, account, id); err != nil {
		return nil, nil, err
	}
	release = m.occupy(id)
	if session, err = m.enterVM(ctx, account, id, by); err != nil {
		release()
		return nil, nil, err
	}
	session = limited{session, func(ctx context.Context) (coppice.Limits, error) { return m.Quotas.Limits(ctx, account) }}
	m.confirm(ctx, id)
	return session, release, nil
}

// enterVM returns the session of a VM that is in use, which it wakes if it sleeps.
// What happens to the VM in between, by whomever, it looks at anew.
func (m *Manager) enterVM(ctx context.Context, account coppice.AccountID, id coppice.VMID, by string) (coppice.Session, error) {
	for {
		vm, e, err := m.see(ctx, account, id)
		switch {
		case err != nil:
			return nil, err
		case e.flight != nil && awaitsTurn(e.flight.verb):
			if _, err := e.flight.wait(ctx); ctx.Err() != nil {
				return nil, err
			}
			continue
		case vm.State == coppice.Suspended:
			m.Log.Info("waking", "vm", id, "by", by)
			if _, err := m.start(ctx, account, id, coppice.StartOptions{}, by); err != nil {
				return nil, err
			}
			continue
		case vm.State != coppice.Running || e.run == nil:
			return nil, notRunning(&vm)
		}
		session, err := m.session(ctx, &vm, e)
		if err == nil || ctx.Err() != nil || !m.moved(id, e) {
			return session, err
		}
	}
}

// awaitsTurn reports whether one who wants to work in a VM waits for verb to be
// done: after it the VM may run, or be asleep, or be no more.
func awaitsTurn(verb coppice.Verb) bool {
	return leadsToRunning(verb) || verb == coppice.Suspend || verb == coppice.Delete
}

// see returns an account's VM and what is held of it, which belong together.
func (m *Manager) see(ctx context.Context, account coppice.AccountID, id coppice.VMID) (coppice.VM, entry, error) {
	for {
		m.mu.Lock()
		e := *m.entry(id)
		m.mu.Unlock()
		vm, err := m.present(ctx, account, id)
		if err != nil || !m.moved(id, e) {
			return vm, e, err
		}
	}
}

// moved reports whether a VM is not any more, or not only, where it was when e was read.
func (m *Manager) moved(id coppice.VMID, e entry) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.entry(id)
	return now.flight != e.flight || now.run != e.run
}
