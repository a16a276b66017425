package lifecycle

import (
	"context"
	"errors"

	"github.com/coppice-vm/coppice"
)

// Limits returns what an account may have at a time, and what it has.
func (m *Manager) Limits(ctx context.Context, account coppice.AccountID) (coppice.Limits, coppice.Usage, error) {
	limits, err := m.Quotas.Limits(ctx, account)
	usage, usageErr := m.Quotas.Usage(ctx, account)
	return limits, usage, errors.Join(err, usageErr)
}

// admits returns why there is no room in an account for something that is to be
// made; nil if there is by now. It is asked before anything is done. Whether
// there still is when the row is written, only the store can say.
func (m *Manager) admits(ctx context.Context, account coppice.AccountID, more coppice.Usage) error {
	limits, usage, err := m.Limits(ctx, account)
	if err != nil {
		return err
	}
	return limits.Admit(usage.Plus(more), coppice.Usage{}, more)
}

// limited is a session that holds to the limits of the VM's account.
type limited struct {
	coppice.Session
	limits func(context.Context) (coppice.Limits, error)
}

// Terminals implements [coppice.Session].
func (l limited) Terminals(user string) coppice.GuestTerminals {
	return limitedTerminals{l.Session.Terminals(user), l.limits}
}

type limitedTerminals struct {
	coppice.GuestTerminals
	limits func(context.Context) (coppice.Limits, error)
}

// Open implements [coppice.GuestTerminals].
func (t limitedTerminals) Open(ctx context.Context, spec coppice.TerminalSpec) (coppice.Terminal, error) {
	limits, err := t.limits(ctx)
	switch {
	case err != nil:
		return nil, err
	case limits.PTYs == 0:
		return nil, tooManyTerminals(0)
	case limits.PTYs != coppice.NoLimit:
		spec.Most = limits.PTYs
	}
	terminal, err := t.GuestTerminals.Open(ctx, spec)
	if errors.Is(err, coppice.ErrTooMany) && spec.Most > 0 && spec.Most < coppice.MaxTerminals {
		return nil, tooManyTerminals(spec.Most)
	}
	return terminal, err
}

func tooManyTerminals(limit int) error {
	return coppice.Errorf(coppice.CodeSessionCapReached, "the account may have %d terminal sessions that run in a VM; close some, or have its limits changed on the host (coppice limits)", limit).
		With("limit", limit).With("current", limit)
}

// newVMOf returns what a VM of that size counts for when it is made.
func newVMOf(size coppice.Size) coppice.Usage {
	return (&coppice.VM{State: coppice.Running, Size: size}).Usage()
}
